"""An id map is accepted exactly where every id has at most one counterpart, on either side."""

from hypothesis import given
from hypothesis import strategies as st

from harness.runtime.errors import ConfigError
from harness.runtime.idmap import check
from harness.runtime.spec import example

EXTENTS = st.lists(
    st.builds(
        lambda inside, outside, size: {"containerID": inside, "hostID": outside, "size": size},
        st.integers(1, 40),
        st.integers(0, 40),
        st.integers(1, 8),
    ),
    max_size=5,
)


@given(EXTENTS)
def test_a_map_is_one_to_one_or_refused(extents: list[dict[str, int]]) -> None:
    extents = [{"containerID": 0, "hostID": 1000, "size": 1}, *extents]
    config = example(1000, 1000)
    config["linux"]["uidMappings"] = extents
    pairs = [(extent["containerID"] + at, extent["hostID"] + at) for extent in extents for at in range(extent["size"])]
    one_to_one = all(len({pair[side] for pair in pairs}) == len(pairs) for side in (0, 1))
    try:
        check(config)
        accepted = True
    except ConfigError:
        accepted = False
    assert accepted == one_to_one
