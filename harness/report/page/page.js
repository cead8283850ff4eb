// Filters the matrix of checks, and shows what stands behind a row. All that it shows it sets as text, never as markup.
"use strict";

document.documentElement.classList.add("scripted");
document.addEventListener("DOMContentLoaded", () => {
  offerTheme(document.getElementById("theme"));
  const table = document.querySelector("table.matrix");
  if (table) offerMatrix(table, document.getElementById("filters"));
});

/** An element with properties and children; strings become text. */
function make(name, properties, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children.flat(Infinity).filter(Boolean));
  return element;
}

/** Light or dark, as the system has it until somebody chooses. */
function offerTheme(button) {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const root = document.documentElement;
  const current = () => root.dataset.theme || (dark.matches ? "dark" : "light");
  const tell = () => {
    button.textContent = current() === "dark" ? "Light" : "Dark";
    button.setAttribute("aria-label", `Change to ${button.textContent.toLowerCase()} colours`);
  };
  button.addEventListener("click", () => {
    root.dataset.theme = current() === "dark" ? "light" : "dark";
    tell();
  });
  dark.addEventListener("change", tell);
  tell();
  button.hidden = false;
}

function offerMatrix(table, form) {
  const columns = table.tHead.rows[0].cells.length - 1;
  const hiding = new CSSStyleSheet();
  document.adoptedStyleSheets.push(hiding);
  const areas = [];
  const lines = [];
  for (const head of table.querySelectorAll("tbody.area")) {
    const area = { head, body: head.nextElementSibling, name: head.id.slice("area-".length), open: false, lines: [] };
    area.button = becomeButton(head.rows[0], () => {
      area.open = !area.open;
      show(area, area.open);
    });
    let claim = "";
    for (const row of area.body.rows) {
      if (!row.classList.contains("again")) claim = row.cells[0].textContent;
      const line = { row, area, number: lines.length, detail: null, severity: row.classList[0] };
      line.text = `${row.id} ${claim}`.toLowerCase();
      line.words = Array.from({ length: columns }, (_, column) => row.cells[column + 1].className);
      line.button = becomeButton(row, () => toggle(line));
      area.lines.push(line);
      lines.push(line);
    }
    areas.push(area);
  }

  let evidence = null;
  function toggle(line, open = line.detail === null || line.detail.hidden) {
    if (line.detail === null) {
      evidence ??= JSON.parse(document.getElementById("evidence").textContent);
      const cell = make("td", { colSpan: columns + 1 }, describe(evidence, evidence.lines[line.number]));
      line.detail = make("tr", { className: "detail" }, cell);
      line.row.after(line.detail);
    }
    line.detail.hidden = !open;
    line.button.setAttribute("aria-expanded", String(open));
  }

  function filter() {
    const words = form.search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const { area: chosenArea, severity, verdict } = Object.fromEntries(
      ["area", "severity", "verdict"].map((name) => [name, form[name].value])
    );
    const shown = [...form.querySelectorAll("input[type=checkbox]")].map((box) => box.checked);
    const filtered = words.length > 0 || Boolean(chosenArea || severity || verdict);
    let found = 0;
    for (const area of areas) {
      let here = 0;
      for (const line of area.lines) {
        const matches =
          (!chosenArea || area.name === chosenArea) &&
          (!severity || line.severity === severity) &&
          words.every((word) => line.text.includes(word)) &&
          (!verdict || agrees(line.words.filter((_, column) => shown[column]), verdict));
        if (line.row.hidden === matches) line.row.hidden = !matches;
        if (line.detail) line.detail.hidden = !matches || line.button.getAttribute("aria-expanded") === "false";
        here += Number(matches);
      }
      area.head.hidden = here === 0;
      show(area, filtered ? here > 0 : area.open);
      found += here;
    }
    form.querySelector("#found").textContent = filtered ? `${found} of ${lines.length} rows` : "";
  }

  function choose() {
    const boxes = [...form.querySelectorAll("input[type=checkbox]")];
    const hidden = boxes.flatMap((box, column) => (box.checked ? [] : [column + 2]));
    const cells = hidden.map((child) => `.matrix tr > :nth-child(${child}) { display: none; }`);
    hiding.replaceSync(`:root { --columns: ${columns - hidden.length}; } ${cells.join(" ")}`);
    const chosen = boxes.filter((box) => box.checked).map((box) => box.parentElement.textContent.trim());
    const some = chosen.length > 2 ? `${chosen.length} of ${boxes.length}` : chosen.join(", ") || "none";
    form.querySelector("#chosen").textContent = hidden.length ? some : "all";
  }

  function reveal() {
    const name = named(location.hash);
    const line = lines.find(({ row }) => row.id === name) ?? lines.find(({ row }) => row.id.startsWith(`${name}[`));
    if (!line) return;
    if (line.row.hidden) {
      form.reset();
      choose();
      filter();
    }
    line.area.open = true;
    show(line.area, true);
    toggle(line, true);
    line.row.scrollIntoView();
    line.button.focus();
  }

  table.addEventListener("click", (event) => {
    const row = event.target.closest("tbody.checks > tr:not(.detail), tbody.area > tr");
    if (row && !event.target.closest("button")) row.querySelector("button").click();
  });
  form.addEventListener("input", (event) => {
    if (event.target.type === "checkbox") choose();
    filter();
  });
  form.addEventListener("click", ({ target }) => {
    if (!target.dataset.choose) return;
    for (const box of form.querySelectorAll("input[type=checkbox]")) box.checked = target.dataset.choose === "all";
    choose();
    filter();
  });
  const chooser = form.querySelector("#chooser");
  document.addEventListener("click", ({ target }) => (chooser.open &&= chooser.contains(target)));
  chooser.addEventListener("keydown", ({ key }) => {
    if (key !== "Escape") return;
    chooser.open = false;
    chooser.querySelector("summary").focus();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () =>
    // Fields are as they were before when the event comes, and also when its microtasks run.
    setTimeout(() => {
      choose();
      filter();
    })
  );
  const every = form.querySelector("#open");
  every.addEventListener("click", () => {
    const open = every.textContent.startsWith("Open");
    every.textContent = open ? "Close all areas" : "Open all areas";
    for (const area of areas) area.open = open;
    filter();
  });
  addEventListener("hashchange", reveal);
  form.hidden = false;
  reveal();
}

/** The name behind the # of an address; one that was mistyped names nothing. */
function named(hash) {
  try {
    return decodeURIComponent(hash.slice(1));
  } catch {
    return "";
  }
}

/** Whether the verdicts that are shown of a check are those that are looked for. */
function agrees(words, verdict) {
  if (verdict === "differs") return new Set(words.filter(Boolean)).size > 1;
  if (verdict === "broken") return words.some((word) => word === "fail" || word === "known" || word === "error");
  return words.includes(verdict);
}

function show(area, open) {
  area.body.classList.toggle("open", open);
  area.button.setAttribute("aria-expanded", String(open));
}

/** Make the claim in a row's heading a button that opens what belongs to it. */
function becomeButton(row, press) {
  const claim = row.querySelector(".claim");
  const button = make("button", { type: "button", className: "claim" }, ...claim.childNodes);
  button.setAttribute("aria-expanded", "false");
  button.addEventListener("click", press);
  claim.replaceWith(button);
  return button;
}

/** What stands behind a row: what the check is about on one side, what was seen on the other. */
function describe(evidence, line) {
  const text = (number) => evidence.texts[number ?? 0];
  const names = (on) => on.map((column) => evidence.runtimes[column]).join(", ");
  const about = evidence.subjects[line.about];
  const order = ["fail", "error", "known", "pass", "skip"];
  const told = [...line.told].sort((one, other) => order.indexOf(one.verdict) - order.indexOf(other.verdict));
  const first = evidence.runtimes[(told[0]?.seen[0].on ?? [0])[0]];
  const knobs = Map.groupBy(about.sabotages ?? [], ([, purpose]) => purpose);
  const purposes = [...knobs].map(([purpose, pairs]) =>
    make("p", {}, pairs.map(([knob], index) => [index ? ", " : "", make("code", {}, text(knob))]), `: ${text(purpose)}`)
  );
  const tried = (line.tried ?? []).map((each) => [
    make("code", {}, text(each.sabotage)),
    `: ${each.outcome} on ${names(each.on)}${each.reason ? `; ${text(each.reason)}` : ""}`,
  ]);
  const untried = make("p", { className: "quiet" }, "None of it was tried in this run.");
  const proofs = tried.length ? lists(tried) : untried;
  const terms = [
    ["Why", (about.why || about.area) && [about.why, about.area].map((each) => each && make("p", {}, text(each)))],
    ["Expected", about.expect?.length && lists(about.expect.map((each) => make("code", {}, text(each))))],
    ["Proven by breaking it", (purposes.length || tried.length) && [purposes, proofs]],
    ["Read more", about.see?.length && lists(about.see.map(([source, address]) => reference(text(source), text(address))))],
    ["Also checked by", about.also?.length && about.also.map(text).join(", ")],
    ["Stands in", line.at && make("code", {}, text(line.at))],
    [`Repeat it on ${first}`, line.again && make("code", { className: "command" }, commandOn(first, text(line.again)))],
  ].filter(([, content]) => content);
  return make(
    "div",
    { className: "evidence" },
    make("dl", { className: "about" }, terms.map(([name, content]) => [make("dt", {}, name), make("dd", {}, content)])),
    make("div", {}, told.map((each) => verdict(each, text, names)))
  );
}

/** A command with the name of a runtime, which stands between apostrophes there; a shell takes none of it for more. */
function commandOn(runtime, command) {
  const quoted = runtime.replaceAll("'", `'"'"'`);
  return command.replaceAll("{runtime}", () => quoted);
}

function verdict(told, text, names) {
  const [first, ...others] = told.seen;
  const all = told.seen.flatMap((each) => each.on);
  return make(
    "section",
    {},
    make("h3", {}, make("b", { className: `verdict ${told.verdict}` }, told.verdict), ` on ${names(all)}`),
    told.reason ? make("p", {}, text(told.reason)) : null,
    shows(first) ? sight(first, text, others.length ? `On ${names(first.on)}` : "") : null,
    others.filter(shows).map((each) =>
      make("details", {}, make("summary", {}, `Seen on ${names(each.on)}`), sight(each, text, ""))
    )
  );
}

const shows = (seen) => Boolean(seen.errno || seen.broken || seen.answers);

/** What was seen inside and on the host, side by side, by expression. */
function sight(seen, text, title) {
  const broken = (seen.broken ?? []).map(([expression, line, parts]) => [
    make("p", {}, "Does not hold, line ", String(line), ": ", make("code", {}, text(expression))),
    sides(parts, text),
  ]);
  return make(
    "div",
    { className: "sight" },
    title ? make("p", { className: "quiet" }, title) : null,
    seen.errno ? make("p", {}, "Attempts ended with ", make("code", {}, text(seen.errno)), ".") : null,
    broken,
    seen.answers ? sides(seen.answers, text, "Not kept where the check holds.") : null
  );
}

function sides(parts, text, otherwise = "Nothing is looked at here.") {
  const named = parts.map(([name, value]) => [text(name), text(value)]);
  const inside = named.filter(([name]) => /\b(inside|start)\./.test(name));
  const host = named.filter(([name]) => !/\b(inside|start)\./.test(name));
  const values = (title, pairs) =>
    make(
      "div",
      {},
      make("h4", {}, title),
      pairs.length
        ? make("dl", {}, pairs.map(([name, value]) => [make("dt", {}, name), make("dd", {}, make("code", {}, value))]))
        : make("p", { className: "quiet" }, otherwise)
    );
  return make(
    "div",
    { className: "sides" },
    values("Inside", inside),
    values("On the host, and asked for", host)
  );
}

function lists(items) {
  return make("ul", {}, items.map((item) => make("li", {}, item)));
}

/** A source, and where it is to be read, if anywhere. */
function reference(source, address) {
  return address ? make("a", { href: address, rel: "noreferrer" }, source) : source;
}
