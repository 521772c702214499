// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * What a guest has besides its life when it is asked for (lab_services=1): a BPF
 * program and maps, a device-mapper device, memory that is swapped out.
 */
#define _GNU_SOURCE
#include "guest.h"

#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/dm-ioctl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

static void must(int ok, const char *what)
{
	if (!ok) {
		fprintf(stderr, "services: ");
		perror(what);
	}
}

static int bpf(int command, union bpf_attr *attr)
{
	return syscall(SYS_bpf, command, attr, sizeof(*attr));
}

static int map(int type, const char *name, int key, int value, int entries)
{
	union bpf_attr attr = { .map_type = type, .key_size = key, .value_size = value,
				.max_entries = entries };

	strcpy(attr.map_name, name);
	return bpf(BPF_MAP_CREATE, &attr);
}

/* A socket filter that counts packets in the array and lets them pass. */
static int program(int array)
{
	struct bpf_insn code[] = {
		{ .code = BPF_ST | BPF_MEM | BPF_W, .dst_reg = BPF_REG_10, .off = -4, .imm = 0 },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = BPF_REG_2, .src_reg = BPF_REG_10 },
		{ .code = BPF_ALU64 | BPF_ADD | BPF_K, .dst_reg = BPF_REG_2, .imm = -4 },
		{ .code = BPF_LD | BPF_DW | BPF_IMM, .dst_reg = BPF_REG_1,
		  .src_reg = BPF_PSEUDO_MAP_FD, .imm = array },
		{ 0 },
		{ .code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_map_lookup_elem },
		{ .code = BPF_JMP | BPF_JEQ | BPF_K, .dst_reg = BPF_REG_0, .off = 2 },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_1, .imm = 1 },
		{ .code = BPF_STX | BPF_ATOMIC | BPF_DW, .dst_reg = BPF_REG_0, .src_reg = BPF_REG_1,
		  .imm = BPF_ADD },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = -1 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	static char log[4096];
	union bpf_attr attr = { .prog_type = BPF_PROG_TYPE_SOCKET_FILTER,
				.insns = (uintptr_t)code,
				.insn_cnt = sizeof(code) / sizeof(code[0]),
				.license = (uintptr_t)"GPL",
				.log_buf = (uintptr_t)log, .log_size = sizeof(log), .log_level = 1 };
	int fd;

	strcpy(attr.prog_name, "lab_filter");
	fd = bpf(BPF_PROG_LOAD, &attr);
	if (fd < 0)
		fprintf(stderr, "services: %s\n", log);
	return fd;
}

static void bpf_objects(void)
{
	int hash = map(BPF_MAP_TYPE_HASH, "lab_hash", 4, 8, 16);
	int array = map(BPF_MAP_TYPE_ARRAY, "lab_array", 4, 8, 4);
	int filter = program(array), udp = socket(AF_INET, SOCK_DGRAM, 0);
	uint32_t key = 7;
	uint64_t value = 42;
	union bpf_attr attr = { .map_fd = hash, .key = (uintptr_t)&key, .value = (uintptr_t)&value };

	must(hash >= 0 && array >= 0, "bpf maps");
	must(!bpf(BPF_MAP_UPDATE_ELEM, &attr), "bpf map element");
	must(filter >= 0, "bpf program");
	must(!setsockopt(udp, SOL_SOCKET, SO_ATTACH_BPF, &filter, sizeof(filter)), "SO_ATTACH_BPF");
}

/* "lab-linear": half on a loop device, half errors. */
static void device_mapper(void)
{
	struct {
		struct dm_ioctl head;
		struct dm_target_spec linear;
		char linear_parameters[16];
		struct dm_target_spec error;
		char error_parameters[8];
	} request;
	int control;

	mkdir("/dev/mapper", 0755);
	mknod("/dev/mapper/control", S_IFCHR | 0600, makedev(10, 236));
	control = open("/dev/mapper/control", O_RDWR);
	memset(&request, 0, sizeof(request));
	request.head.version[0] = DM_VERSION_MAJOR;
	request.head.data_size = sizeof(request);
	request.head.data_start = sizeof(request.head);
	strcpy(request.head.name, "lab-linear");
	strcpy(request.head.uuid, "LAB-0001");
	must(!ioctl(control, DM_DEV_CREATE, &request), "DM_DEV_CREATE");
	memset(&request, 0, sizeof(request));
	request.head.version[0] = DM_VERSION_MAJOR;
	request.head.data_size = sizeof(request);
	request.head.data_start = (char *)&request.linear - (char *)&request;
	strcpy(request.head.name, "lab-linear");
	request.head.target_count = 2;
	request.linear.length = 1024;
	request.linear.next = (char *)&request.error - (char *)&request.linear;
	strcpy(request.linear.target_type, "linear");
	strcpy(request.linear_parameters, "7:1 8");
	request.error.sector_start = 1024;
	request.error.length = 512;
	strcpy(request.error.target_type, "error");
	must(!ioctl(control, DM_TABLE_LOAD, &request), "DM_TABLE_LOAD");
	memset(&request.head, 0, sizeof(request.head));
	request.head.version[0] = DM_VERSION_MAJOR;
	request.head.data_size = request.head.data_start = sizeof(request.head);
	strcpy(request.head.name, "lab-linear");
	must(!ioctl(control, DM_DEV_SUSPEND, &request), "DM_DEV_SUSPEND to resume");
}

static void swapped(void)
{
	size_t size = 4 << 20;
	char *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	must(map != MAP_FAILED, "mmap");
	for (size_t at = 0; at < size; at += 4096)
		snprintf(map + at, 64, "mortis swapped page %zu", at / 4096);
	must(!madvise(map, size, MADV_PAGEOUT), "MADV_PAGEOUT");
}

static void beget(const char *name, void (*body)(void))
{
	if (fork() != 0)
		return;
	prctl(PR_SET_NAME, name);
	body();
	for (;;)
		pause();
}

int services(void)
{
	device_mapper();
	beget("life-bpf", bpf_objects);
	beget("life-swapped", swapped);
	return 0;
}
