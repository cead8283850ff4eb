/* The floor of a start: the same system calls as our own runtime's, from C, in a process that does nothing else.

   The table is the very one that harness/runtime/replay.py has laid out, with its addresses relative to its beginning
   (harness/floor.py). Each byte on standard input asks for one start, which is answered by three times in nanoseconds
   of CLOCK_MONOTONIC: of the request, of the first instruction of the program, and when it had been reaped; by the CPU
   time of this process and its children, in nanoseconds; and by the most memory that a child has had, in KiB. A time of
   0 says that it failed. */

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { GIVEN = 5 };

struct header {
    uint64_t size, relocations, flags;
    uint64_t before, child, after; /* offsets of tables: on the host's side, in the child, and to undo the first */
    uint64_t given[GIVEN];         /* offsets of words: streams, channel, the launcher's end */
};

struct entry {
    long number, arguments[6], *errnos, result;
    int **users;
};

static char stack[4096] __attribute__((aligned(16)));

static uint64_t now(void) {
    struct timespec found;
    clock_gettime(CLOCK_MONOTONIC, &found);
    return found.tv_sec * 1000000000ull + found.tv_nsec;
}

static uint64_t used(struct rusage *children) {
    struct timespec own;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &own);
    getrusage(RUSAGE_CHILDREN, children);
    return (own.tv_sec + children->ru_utime.tv_sec + children->ru_stime.tv_sec) * 1000000000ull + own.tv_nsec +
           (children->ru_utime.tv_usec + children->ru_stime.tv_usec) * 1000ull;
}

static long call(const long number, const long *given) {
    long result;
#if defined(__x86_64__)
    register long fourth __asm__("r10") = given[3], fifth __asm__("r8") = given[4], sixth __asm__("r9") = given[5];
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(given[0]), "S"(given[1]), "d"(given[2]), "r"(fourth), "r"(fifth), "r"(sixth)
                     : "rcx", "r11", "memory");
#elif defined(__aarch64__)
    register long x0 __asm__("x0") = given[0], x1 __asm__("x1") = given[1], x2 __asm__("x2") = given[2];
    register long x3 __asm__("x3") = given[3], x4 __asm__("x4") = given[4], x5 __asm__("x5") = given[5];
    register long x8 __asm__("x8") = number;
    __asm__ volatile("svc #0" : "+r"(x0) : "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5), "r"(x8) : "memory");
    result = x0;
#endif
    return result;
}

/* Returns 0 at the end of a table, and an errno for a call that has failed. */
static long walk(struct entry *entry) {
    for (; entry->number >= 0; entry++) {
        long result = call(entry->number, entry->arguments);
        if (result < 0) {
            long *code = entry->errnos;
            while (*code && *code != result)
                code++;
            if (!*code)
                return -result;
            result = -1;
        }
        for (int **user = entry->users; *user; user++)
            **user = result;
    }
    return 0;
}

/* Runs on a stack of its own, in memory that is its launcher's, and never returns. */
static int child(void *table) {
    walk(table);
    _exit(125);
}

int main(int count, char **arguments) {
    struct header header;
    int file = open(arguments[count - 1], O_RDONLY | O_CLOEXEC), null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int errors = fcntl(2, F_DUPFD_CLOEXEC, 3), ends[2], channel[2];
    if (file < 0 || null < 0 || errors < 0 || read(file, &header, sizeof header) != sizeof header)
        return 2;
    char *image = aligned_alloc(16, (header.size + 15) / 16 * 16);
    if (read(file, image, header.size) != (ssize_t)header.size)
        return 2;
    for (uint64_t left = header.relocations, at; left--; *(uint64_t *)(image + at) += (uint64_t)image)
        if (read(file, &at, sizeof at) != sizeof at)
            return 2;
    if (pipe2(ends, O_CLOEXEC) || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel))
        return 2;
    for (char byte; read(0, &byte, 1) == 1;) {
        struct rusage children;
        uint64_t before = used(&children), answer[5] = {now()};
        struct timespec first;
        int status, pidfd = -1;
        const int given[GIVEN] = {null, ends[1], errors, channel[1], channel[0]};
        for (int index = 0; index < GIVEN; index++)
            *(int *)(image + header.given[index]) = given[index];
        if (walk((struct entry *)(image + header.before)))
            return 2;
        int pid = clone(child, stack + sizeof stack, CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD | (int)header.flags,
                        image + header.child, &pidfd);
        if (pid < 0)
            return 2;
        waitpid(pid, &status, 0);
        while (walk((struct entry *)(image + header.after)) == EBUSY)
            ;
        answer[2] = now();
        answer[3] = used(&children) - before;
        answer[4] = children.ru_maxrss;
        close(pidfd);
        if (status == 0 && read(ends[0], &first, sizeof first) == sizeof first)
            answer[1] = first.tv_sec * 1000000000ull + first.tv_nsec;
        if (write(1, answer, sizeof answer) != sizeof answer)
            return 2;
    }
    return 0;
}
