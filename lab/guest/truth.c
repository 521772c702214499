// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * What the living kernel says about itself, one file per subject:
 *   DIR/NAME           a copy of /proc/NAME
 *   DIR/task/NAME      every thread's /proc/PID/task/TID/NAME under "== PID TID COMM"
 *   DIR/process/NAME   the same for what belongs to a process
 *   DIR/sections       "MODULE SECTION ADDRESS" of every loaded module
 *   DIR/kmsg           the log's records as /dev/kmsg gives them
 * What changes by itself is read last.
 */
#define _GNU_SOURCE
#include "guest.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *out_dir;

static const char *const steady[] = {
	"version", "cmdline", "cpuinfo", "devices", "filesystems", "misc", "consoles", "iomem",
	"ioports", "kallsyms", "modules", "mounts", "self/mountinfo", "partitions", "swaps",
	"cgroups", "crypto", "fb", "execdomains", "key-users", "keys", "locks", "mtrr",
	"net/tcp", "net/tcp6", "net/udp", "net/udp6", "net/unix", "net/raw", "net/packet",
	"net/netlink", "net/route", "net/arp", "net/protocols", "net/sockstat",
	"sysvipc/shm", "sysvipc/sem", "sysvipc/msg",
	"sys/kernel/random/boot_id", "sys/kernel/tainted", "sys/kernel/osrelease",
};

static const char *const volatile_[] = {
	"timer_list", "schedstat", "diskstats", "net/dev", "interrupts", "softirqs", "stat",
	"vmallocinfo", "pagetypeinfo", "zoneinfo", "buddyinfo", "vmstat", "slabinfo", "meminfo",
	"loadavg", "uptime",
};

static const char *const of_thread[] = { "stat", "status", "stack", "wchan", "syscall", "sched" };
static const char *const of_process[] = { "maps", "cmdline", "cgroup", "limits", "io", "statm" };

static FILE *create(const char *name)
{
	char path[512];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", out_dir, name);
	for (char *slash = path + strlen(out_dir) + 1; (slash = strchr(slash, '/')); slash++) {
		*slash = 0;
		mkdir(path, 0755);
		*slash = '/';
	}
	file = fopen(path, "w");
	if (!file)
		perror(path);
	return file;
}

/* Appends the file at `path` and reports whether it could be read. */
static int append(FILE *to, const char *path)
{
	static char buffer[1 << 18];
	int from = open(path, O_RDONLY | O_NONBLOCK);
	ssize_t got;
	char last = '\n';

	if (from < 0)
		return 0;
	while ((got = read(from, buffer, sizeof(buffer))) > 0) {
		for (ssize_t i = 0; i < got; i++) /* /proc/PID/cmdline separates by NUL */
			if (!buffer[i])
				buffer[i] = ' ';
		fwrite(buffer, 1, got, to);
		last = buffer[got - 1];
	}
	if (last != '\n')
		fputc('\n', to);
	close(from);
	return 1;
}

static void copy(const char *name)
{
	char path[256];
	FILE *to;

	snprintf(path, sizeof(path), "/proc/%s", name);
	if (access(path, R_OK))
		return;
	to = create(name);
	if (!to)
		return;
	append(to, path);
	fclose(to);
}

static void comm_of(int pid, int tid, char *comm, size_t size)
{
	char path[64];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/comm", pid, tid);
	comm[0] = 0;
	file = fopen(path, "r");
	if (!file)
		return;
	if (fgets(comm, size, file))
		comm[strcspn(comm, "\n")] = 0;
	fclose(file);
}

static void links(FILE *to, const char *dir)
{
	struct dirent *entry;
	DIR *listing = opendir(dir);

	while (listing && (entry = readdir(listing))) {
		char path[1024], target[512];
		ssize_t length;

		snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
		length = readlink(path, target, sizeof(target) - 1);
		if (length < 0)
			continue;
		target[length] = 0;
		fprintf(to, "%s -> %s\n", entry->d_name, target);
	}
	if (listing)
		closedir(listing);
}

enum { THREADS, PROCESSES, LINKS };

/* Walks all tasks once for one subject, so that each subject is one consistent pass. */
static void walk(const char *name, int kind)
{
	char path[320], comm[64];
	struct dirent *process, *thread;
	FILE *to;
	DIR *processes = opendir("/proc");

	snprintf(path, sizeof(path), "%s/%s", kind == THREADS ? "task" : "process", name);
	to = create(path);
	while (to && processes && (process = readdir(processes))) {
		int pid = atoi(process->d_name);
		DIR *threads;

		if (!pid)
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task", pid);
		threads = opendir(path);
		while (threads && (thread = readdir(threads))) {
			int tid = atoi(thread->d_name);

			if (!tid || (kind != THREADS && tid != pid))
				continue;
			comm_of(pid, tid, comm, sizeof(comm));
			fprintf(to, "== %d %d %s\n", pid, tid, comm);
			if (kind == THREADS)
				snprintf(path, sizeof(path), "/proc/%d/task/%d/%s", pid, tid, name);
			else
				snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
			if (kind == LINKS)
				links(to, path);
			else
				append(to, path);
		}
		if (threads)
			closedir(threads);
	}
	if (processes)
		closedir(processes);
	if (to)
		fclose(to);
}

static void sections(void)
{
	struct dirent *module, *section;
	char path[1024], address[64];
	DIR *sections_dir, *modules = opendir("/sys/module");
	FILE *file, *to = create("sections");

	while (to && modules && (module = readdir(modules))) {
		snprintf(path, sizeof(path), "/sys/module/%s/sections", module->d_name);
		sections_dir = module->d_name[0] == '.' ? NULL : opendir(path);
		while (sections_dir && (section = readdir(sections_dir))) {
			snprintf(path, sizeof(path), "/sys/module/%s/sections/%s", module->d_name, section->d_name);
			file = fopen(path, "r");
			if (file && fgets(address, sizeof(address), file))
				fprintf(to, "%s %s %s", module->d_name, section->d_name, address);
			if (file)
				fclose(file);
		}
		if (sections_dir)
			closedir(sections_dir);
	}
	if (modules)
		closedir(modules);
	if (to)
		fclose(to);
}

static void kmsg(void)
{
	static char record[8192];
	int log = open("/dev/kmsg", O_RDONLY | O_NONBLOCK);
	FILE *to = create("kmsg");
	ssize_t got;

	while (to && log >= 0) {
		got = read(log, record, sizeof(record));
		if (got > 0)
			fwrite(record, 1, got, to);
		else if (got == 0 || errno != EPIPE) /* EPIPE: records were overwritten meanwhile */
			break;
	}
	if (to)
		fclose(to);
	close(log);
}

int truth(int argc, char **argv)
{
	(void)argc;
	out_dir = argv[1];
	mkdir(out_dir, 0755);
	for (size_t i = 0; i < sizeof(steady) / sizeof(steady[0]); i++)
		copy(steady[i]);
	sections();
	for (size_t i = 0; i < sizeof(of_process) / sizeof(of_process[0]); i++)
		walk(of_process[i], PROCESSES);
	walk("fd", LINKS);
	walk("ns", LINKS);
	kmsg();
	for (size_t i = 0; i < sizeof(of_thread) / sizeof(of_thread[0]); i++)
		walk(of_thread[i], THREADS);
	sync();
	for (size_t i = 0; i < sizeof(volatile_) / sizeof(volatile_[0]); i++)
		copy(volatile_[i]);
	sync();
	return 0;
}
