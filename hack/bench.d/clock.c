/* The clock of hack/bench-network. Every measurement is one line of numbers; what they amount to is the caller's.
 *   clock serve PORT                   answers each connection with one byte
 *   clock connect ADDRESS PORT COUNT   microseconds to the end of connect, and to that byte, one line each
 *   clock turns COUNT COMMAND...       milliseconds of each command, run in turns: one line each time round
 */
#include <arpa/inet.h>
#include <err.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static double now(void) { /* microseconds */
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static void serve(int port) {
  int all = socket(AF_INET, SOCK_STREAM, 0), on = 1;
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
  setsockopt(all, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(all, (void *)&at, sizeof at) || listen(all, 128)) err(1, "port %d", port);
  for (int one; (one = accept(all, 0, 0)) >= 0; close(one)) {
    char byte = 0;
    if (write(one, &byte, 1) == 1) (void)!read(one, &byte, 1); /* until the other side has gone */
  }
}

static void connects(const char *address, int port, int count) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = inet_addr(address)};
  struct linger reset = {.l_onoff = 1}; /* no TIME_WAIT: thousands follow one another */
  while (count--) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    char byte;
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    double began = now();
    if (connect(fd, (void *)&to, sizeof to)) err(1, "connect to %s:%d", address, port);
    double connected = now();
    if (read(fd, &byte, 1) != 1) err(1, "%s:%d says nothing", address, port);
    printf("%.1f %.1f\n", connected - began, now() - began);
    close(fd);
  }
}

static double run(char *command) {
  char *words[64], copy[4096];
  int n = 0, status;
  pid_t pid;
  posix_spawn_file_actions_t quiet;
  posix_spawn_file_actions_init(&quiet);
  posix_spawn_file_actions_addopen(&quiet, 1, "/dev/null", O_WRONLY, 0); /* standard output is ours */
  snprintf(copy, sizeof copy, "%s", command);
  for (char *word = strtok(copy, " "); word && n < 63; word = strtok(0, " ")) words[n++] = word;
  words[n] = 0;
  usleep(30000); /* the kernel takes down the namespace of the one before, and holds the lock of all links meanwhile */
  double began = now();
  if (posix_spawnp(&pid, words[0], &quiet, 0, words, environ) || waitpid(pid, &status, 0) < 0) err(1, "%s", command);
  if (status) errx(1, "status %d: %s", status, command);
  return (now() - began) / 1e3;
}

int main(int argc, char **argv) {
  if (argc == 3 && !strcmp(argv[1], "serve")) {
    serve(atoi(argv[2]));
  } else if (argc == 5 && !strcmp(argv[1], "connect")) {
    connects(argv[2], atoi(argv[3]), atoi(argv[4]));
  } else if (argc > 3 && !strcmp(argv[1], "turns")) {
    for (int left = atoi(argv[2]); left--; puts(""))
      for (int i = 3; i < argc; i++) fprintf(stdout, "%.3f ", run(argv[i]));
  } else {
    errx(2, "see the first lines of clock.c");
  }
}
