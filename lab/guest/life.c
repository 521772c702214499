// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * A little life: processes whose kernel objects are worth finding in a dump.
 * Each one is named after what it does ("life-pipe", "life-zombie", ...), says
 * when it is ready, and then stays as it is until the guest dies.
 */
#define _GNU_SOURCE
#include "guest.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static int ready_fd;

static void ready(void)
{
	if (write(ready_fd, "r", 1) != 1)
		_exit(1);
}

static void must(int ok, const char *what)
{
	if (!ok) {
		fprintf(stderr, "life: ");
		perror(what);
	}
}

static void forever(void)
{
	for (;;)
		pause();
}

/* Threads, each asleep in another system call. */

static unsigned futex_word;
static int thread_pipe[2];

static void *thread_futex(void *arg)
{
	prctl(PR_SET_NAME, "life-futex");
	for (;;)
		syscall(SYS_futex, &futex_word, FUTEX_WAIT, 0, NULL, NULL, 0);
	return arg;
}

static void *thread_read(void *arg)
{
	char byte;

	prctl(PR_SET_NAME, "life-read");
	while (read(thread_pipe[0], &byte, 1) >= 0)
		;
	return arg;
}

static void *thread_nanosleep(void *arg)
{
	prctl(PR_SET_NAME, "life-nanosleep");
	for (;;)
		sleep(100000);
	return arg;
}

static void *thread_poll(void *arg)
{
	struct pollfd fd = { .fd = thread_pipe[0], .events = POLLIN };

	prctl(PR_SET_NAME, "life-poll");
	for (;;)
		poll(&fd, 1, -1);
	return arg;
}

static void *thread_pause(void *arg)
{
	forever();
	return arg;
}

static void threads(void)
{
	void *(*bodies[])(void *) = { thread_futex, thread_read, thread_nanosleep, thread_poll };
	pthread_t thread;

	must(!pipe(thread_pipe), "pipe");
	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++)
		must(!pthread_create(&thread, NULL, bodies[i], NULL), "pthread_create");
	sleep(1);
}

/* Files: a deleted one, a locked one, a mapped one, and the odd descriptors. */

static void files(void)
{
	struct itimerspec hour = { .it_value = { .tv_sec = 3600 } };
	struct epoll_event event = { .events = EPOLLIN };
	int deleted = open("/tmp/deleted", O_RDWR | O_CREAT, 0600);
	int locked = open("/mnt/ext4/locked", O_RDWR | O_CREAT, 0640);
	int epoll = epoll_create1(0), event_fd = eventfd(7, 0), timer = timerfd_create(CLOCK_MONOTONIC, 0);
	int watch = inotify_init1(0);
	sigset_t set;

	must(deleted >= 0 && write(deleted, "gone", 4) == 4 && !unlink("/tmp/deleted"), "/tmp/deleted");
	must(locked >= 0 && !flock(locked, LOCK_EX), "/mnt/ext4/locked");
	must(!ftruncate(locked, 1 << 20), "ftruncate");
	char *map = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, locked, 0);
	must(map != MAP_FAILED, "mmap of a file");
	for (size_t at = 0; map != MAP_FAILED && at < 1 << 20; at += 4096)
		snprintf(map + at, 64, "mortis file page %zu", at / 4096);
	map = mmap(NULL, 4 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(map != MAP_FAILED, "anonymous mmap");
	for (size_t at = 0; map != MAP_FAILED && at < 4 << 20; at += 4096)
		snprintf(map + at, 64, "mortis anonymous page %zu", at / 4096);
	must(!epoll_ctl(epoll, EPOLL_CTL_ADD, event_fd, &event), "epoll_ctl");
	must(!timerfd_settime(timer, 0, &hour, NULL), "timerfd");
	must(inotify_add_watch(watch, "/tmp", IN_CREATE) >= 0, "inotify");
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	must(signalfd(-1, &set, 0) >= 0, "signalfd");
	raise(SIGUSR1); /* stays pending */
}

static void sysv(void)
{
	struct { long type; char text[16]; } message = { 1, "mortis message" };
	int shm = shmget(0x6d6f7274, 65536, IPC_CREAT | 0600);
	int sem = semget(0x6d6f7275, 3, IPC_CREAT | 0600);
	int msg = msgget(0x6d6f7276, IPC_CREAT | 0600);

	must(shm >= 0 && shmat(shm, NULL, 0) != (void *)-1, "shm");
	must(sem >= 0, "sem");
	must(msg >= 0 && !msgsnd(msg, &message, sizeof(message.text), 0), "msg");
}

/* Sockets: unix and TCP, listening and connected, and bound UDP. */

static void sockets(void)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX, .sun_path = "/tmp/life.sock" };
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(8080),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(8081),
				    .sin6_addr = IN6ADDR_ANY_INIT };
	int pair[2];
	int unix_server = socket(AF_UNIX, SOCK_STREAM, 0), unix_client = socket(AF_UNIX, SOCK_STREAM, 0);
	int server = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0);
	int server6 = socket(AF_INET6, SOCK_STREAM, 0), udp = socket(AF_INET, SOCK_DGRAM, 0);

	unlink(un.sun_path);
	must(!bind(unix_server, (void *)&un, sizeof(un)) && !listen(unix_server, 5), "unix listen");
	must(!connect(unix_client, (void *)&un, sizeof(un)) && accept(unix_server, NULL, NULL) >= 0, "unix connect");
	must(!bind(server, (void *)&in, sizeof(in)) && !listen(server, 5), "tcp listen");
	must(!connect(client, (void *)&in, sizeof(in)) && accept(server, NULL, NULL) >= 0, "tcp connect");
	must(write(client, "unread bytes", 12) == 12, "tcp write");
	must(!bind(server6, (void *)&in6, sizeof(in6)) && !listen(server6, 5), "tcp6 listen");
	in.sin_port = htons(5353);
	must(!bind(udp, (void *)&in, sizeof(in)), "udp bind");
	must(!socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), "socketpair");
}

/* States that `ps` shows with another letter than S. */

static void zombie(void)
{
	if (fork() == 0) {
		prctl(PR_SET_NAME, "life-dead");
		_exit(42);
	}
	sleep(1);
}

static void stopped(void)
{
	ready();
	raise(SIGSTOP);
	forever();
}

static void traced(void)
{
	pid_t child = fork();

	if (child == 0) {
		prctl(PR_SET_NAME, "life-tracee");
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGTRAP);
		forever();
	}
	waitpid(child, NULL, WUNTRACED);
}

/* The parent of a vfork waits uninterruptibly (D) for a child that never comes back. */
static void uninterruptible(void)
{
	ready();
	if (vfork() == 0) {
		prctl(PR_SET_NAME, "life-vforked");
		forever();
	}
	forever();
}

static void scheduling(void)
{
	struct sched_param param = { .sched_priority = 10 };

	must(!sched_setscheduler(0, SCHED_FIFO, &param), "SCHED_FIFO");
}

static void niced(void)
{
	must(!setpriority(PRIO_PROCESS, 0, 7), "nice");
	must(!setgid(1000) && !setuid(1000), "setuid");
}

static void namespaces(void)
{
	must(!unshare(CLONE_NEWUTS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWNS), "unshare");
	must(!sethostname("inner", 5), "sethostname");
}

static void pipe_pair(void)
{
	int fds[2];

	must(!pipe(fds), "pipe");
	if (fork() == 0) {
		char byte;

		prctl(PR_SET_NAME, "life-piper");
		close(fds[1]);
		while (read(fds[0], &byte, 1) > 0)
			;
		_exit(0);
	}
	must(write(fds[1], "in the pipe", 11) == 11, "pipe write");
}

/* One CPU is kept busy, in user mode or mostly in the kernel. */

static volatile unsigned long spins;

static void __attribute__((noinline)) spin_inner(void)
{
	for (;;)
		spins++;
}

static void __attribute__((noinline)) spin_outer(void)
{
	spin_inner();
	spins = 0;
}

static void busy(int in_kernel)
{
	static char block[1 << 20];
	cpu_set_t cpus;
	int random = open("/dev/urandom", O_RDONLY);

	CPU_ZERO(&cpus);
	CPU_SET(sysconf(_SC_NPROCESSORS_ONLN) - 1, &cpus);
	must(!sched_setaffinity(0, sizeof(cpus), &cpus), "sched_setaffinity");
	ready();
	while (in_kernel && read(random, block, sizeof(block)) > 0)
		;
	spin_outer();
}

/* The crowd of a large guest: `count` sleeping threads in processes of a thousand. */
static void crowd(int count)
{
	pthread_attr_t attributes;
	pthread_t thread;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, 32768);
	while (count > 0) {
		int here = count < 1000 ? count : 1000;

		count -= here;
		if (fork() != 0)
			continue;
		prctl(PR_SET_NAME, "life-crowd");
		while (--here > 0)
			must(!pthread_create(&thread, &attributes, thread_pause, NULL), "crowd");
		ready();
		forever();
	}
}

static void beget(const char *name, void (*body)(void), int says_ready_itself)
{
	if (fork() != 0)
		return;
	prctl(PR_SET_NAME, name);
	body();
	if (!says_ready_itself)
		ready();
	forever();
}

static void busy_user(void) { busy(0); }
static void busy_kernel(void) { busy(1); }

/* life CROWD user|kernel */
int life(int argc, char **argv)
{
	int count = argc > 1 ? atoi(argv[1]) : 0;
	int in_kernel = argc > 2 && !strcmp(argv[2], "kernel");
	int expected = 13 + (count + 999) / 1000;
	int fds[2];
	char byte;

	must(!pipe(fds), "pipe");
	ready_fd = fds[1];
	if (fork() == 0) {
		close(fds[0]);
		setsid();
		prctl(PR_SET_NAME, "life");
		beget("life-threads", threads, 0);
		beget("life-files", files, 0);
		beget("life-sysv", sysv, 0);
		beget("life-sockets", sockets, 0);
		beget("life-zombie", zombie, 0);
		beget("life-stopped", stopped, 1);
		beget("life-tracer", traced, 0);
		beget("life-vfork", uninterruptible, 1);
		beget("life-fifo", scheduling, 0);
		beget("life-nice", niced, 0);
		beget("life-ns", namespaces, 0);
		beget("life-pipe", pipe_pair, 0);
		crowd(count);
		beget("life-busy", in_kernel ? busy_kernel : busy_user, 1);
		forever();
	}
	close(fds[1]);
	while (expected > 0 && read(fds[0], &byte, 1) == 1)
		expected--;
	if (expected > 0)
		fprintf(stderr, "life: %d processes never became ready\n", expected);
	return expected > 0;
}
