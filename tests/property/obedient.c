/* What the containers of test_lives.py run: it does what it is told, and tells what it sees.

   An order is a line of a message on standard input, a socket that keeps messages apart; so is the answer, which has a
   part for each line, ended by a NUL. What fails says its errno. */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { LONGEST_ORDERS = 1 << 12, LONGEST_ANSWER = 1 << 16, HIGHEST_DESCRIPTOR = 64 };

static char answer[LONGEST_ANSWER];
static size_t said;

static void say(const char *format, ...) {
    va_list values;
    va_start(values, format);
    said += vsnprintf(answer + said, sizeof answer - said, format, values);
    va_end(values);
}

static void tell_end(const long result) {
    if (result < 0)
        say("errno %d", errno);
    else
        say("%ld", result);
}

static void list(const char *path) {
    DIR *const directory = opendir(path);
    if (!directory)
        return tell_end(-1);
    for (struct dirent *entry; (entry = readdir(directory));)
        if (entry->d_name[0] != '.')
            say("%s ", entry->d_name);
    closedir(directory);
}

static void show(const char *path) {
    const int file = open(path, O_RDONLY);
    if (file < 0)
        return tell_end(-1);
    for (long length; (length = read(file, answer + said, sizeof answer - said)) > 0;)
        said += length;
    close(file);
}

static long touch(const char *path) {
    const int file = open(path, O_WRONLY | O_CREAT, 0600);
    return file < 0 ? -1 : close(file);
}

static long bind_abstract(const char *name) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const size_t length = strlen(name);
    memcpy(address.sun_path + 1, name, length);
    return bind(socket(AF_UNIX, SOCK_DGRAM, 0), (struct sockaddr *)&address,
                offsetof(struct sockaddr_un, sun_path) + 1 + length);
}

/* A child that holds on to nothing, and does nothing until it is killed. */
static long leave_child(void) {
    const pid_t child = fork();
    if (child)
        return child;
    for (int descriptor = 0; descriptor < HIGHEST_DESCRIPTOR; descriptor++)
        close(descriptor);
    for (;;)
        pause();
}

static void obey(const char *order) {
    const char *const space = strchr(order, ' '), *const object = space ? space + 1 : "";
    const size_t length = space ? (size_t)(space - order) : strlen(order);
    if (!strncmp(order, "list", length))
        list(object);
    else if (!strncmp(order, "show", length))
        show(object);
    else if (!strncmp(order, "touch", length))
        tell_end(touch(object));
    else if (!strncmp(order, "bind", length))
        tell_end(bind_abstract(object));
    else if (!strncmp(order, "key", length))
        tell_end(shmget(atoi(object), 1, IPC_CREAT | 0600));
    else if (!strncmp(order, "pid", length))
        tell_end(getpid());
    else if (!strncmp(order, "fork", length))
        tell_end(leave_child());
    else if (!strncmp(order, "ignore", length))
        tell_end(signal(atoi(object), SIG_IGN) == SIG_ERR ? -1 : 0);
    else if (!strncmp(order, "exit", length))
        exit(atoi(object));
    answer[said++] = '\0';
}

int main(void) {
    static char orders[LONGEST_ORDERS];
    signal(SIGCHLD, SIG_IGN); /* as the first process it is handed the children of others, and need not wait for any */
    for (long length; (length = read(0, orders, sizeof orders - 1)) > 0; said = 0) {
        orders[length] = '\0';
        for (char *order = strtok(orders, "\n"); order; order = strtok(NULL, "\n"))
            obey(order);
        if (write(1, answer, said) < 0)
            return 1;
    }
    return 0;
}
