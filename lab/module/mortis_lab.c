// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * mortis_lab: a module that leaves known objects in kernel memory, and that
 * crashes the kernel when a crash's name is written to its parameter:
 *
 *   echo null > /sys/module/mortis_lab/parameters/crash
 *
 * Every function on the way to a crash is kept out of line, so that the oops
 * names it and a backtrace has to.
 */
#include <linux/bug.h>
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/hrtimer.h>
#include <linux/kthread.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/percpu.h>
#include <linux/rbtree.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <linux/version.h>
#include <linux/xarray.h>

#define ITEMS 5
#define OBJECTS 100

/* Known objects. Their addresses are in the log behind "mortis_lab:". */

struct mortis_item {
	int number;
	char name[16];
	enum { MORTIS_PLAIN, MORTIS_FANCY = 7 } kind;
	unsigned int low : 3, high : 5;
	union {
		u64 word;
		u8 bytes[8];
	};
	struct list_head link;
	struct rb_node node;
	struct hlist_node hash;
	struct mortis_item *next;
	int (*method)(struct mortis_item *item);
};

static LIST_HEAD(mortis_list);
static struct rb_root mortis_tree = RB_ROOT;
static DEFINE_XARRAY(mortis_xarray);
static HLIST_HEAD(mortis_hlist);
static DEFINE_PER_CPU(unsigned long, mortis_counter);
static struct mortis_item mortis_items[ITEMS];
static struct kmem_cache *mortis_cache;
static void *mortis_objects[OBJECTS];
static struct task_struct *mortis_waiter;
static DECLARE_COMPLETION(mortis_never);

static noinline int mortis_method(struct mortis_item *item)
{
	return item->number;
}

static void mortis_plant(struct mortis_item *item)
{
	struct rb_node **place = &mortis_tree.rb_node, *parent = NULL;

	while (*place) {
		parent = *place;
		place = item->number < rb_entry(parent, struct mortis_item, node)->number
			? &parent->rb_left : &parent->rb_right;
	}
	rb_link_node(&item->node, parent, place);
	rb_insert_color(&item->node, &mortis_tree);
}

static void mortis_fill(void)
{
	int i;

	for (i = 0; i < ITEMS; i++) {
		struct mortis_item *item = &mortis_items[i];

		item->number = i * 11;
		snprintf(item->name, sizeof(item->name), "item %d", i);
		item->kind = i & 1 ? MORTIS_FANCY : MORTIS_PLAIN;
		item->low = i;
		item->high = i + 20;
		item->word = 0x1122334455667700ULL + i;
		item->next = i + 1 < ITEMS ? item + 1 : NULL;
		item->method = mortis_method;
		list_add_tail(&item->link, &mortis_list);
		hlist_add_head(&item->hash, &mortis_hlist);
		mortis_plant(item);
		xa_store(&mortis_xarray, i * 1000, item, GFP_KERNEL);
	}
}

/* A constructor keeps the cache from being merged with another one. */
static void mortis_construct(void *object)
{
	memset(object, 0x5a, 200);
}

/* Of OBJECTS objects every tenth is freed again. */
static int mortis_allocate(void)
{
	int i;

	mortis_cache = kmem_cache_create("mortis_lab", 200, 0, 0, mortis_construct);
	if (!mortis_cache)
		return -ENOMEM;
	for (i = 0; i < OBJECTS; i++)
		mortis_objects[i] = kmem_cache_alloc(mortis_cache, GFP_KERNEL);
	for (i = 0; i < OBJECTS; i += 10) {
		kmem_cache_free(mortis_cache, mortis_objects[i]);
		mortis_objects[i] = NULL;
	}
	return 0;
}

/* A kernel thread that waits below functions of this module. */

static noinline void mortis_wait_inner(void)
{
	wait_for_completion(&mortis_never);
	barrier();
}

static noinline void mortis_wait_outer(void)
{
	mortis_wait_inner();
	barrier();
}

static int mortis_wait(void *unused)
{
	mortis_wait_outer();
	return 0;
}

/* Crashes. */

static noinline int mortis_null_inner(struct mortis_item *item)
{
	item->number = 42;
	return item->kind;
}

static noinline int mortis_null_middle(struct mortis_item *item, int depth)
{
	int kind = mortis_null_inner(item->next);

	return kind + depth;
}

static noinline int mortis_null_outer(int depth)
{
	int result = mortis_null_middle(&mortis_items[ITEMS - 1], depth);

	return result * 2;
}

static noinline void mortis_bug_inner(int number)
{
	BUG_ON(number == 7);
	barrier();
}

static noinline void mortis_bug(void)
{
	mortis_bug_inner(7);
	barrier();
}

static noinline int mortis_recurse(int depth)
{
	volatile char block[192];
	int i;

	for (i = 0; i < sizeof(block); i += 64)
		block[i] = depth;
	return depth > 0 ? mortis_recurse(depth + 1) + block[64] : 0;
}

/* In interrupt context: a timer that fires over a task busy in this module. */

static struct hrtimer mortis_timer;

static noinline void mortis_irq_inner(struct mortis_item *item)
{
	item->number = 43;
	barrier();
}

static enum hrtimer_restart mortis_irq(struct hrtimer *timer)
{
	mortis_irq_inner(NULL);
	return HRTIMER_NORESTART;
}

static noinline void mortis_busy_inner(void)
{
	for (;;) {
		this_cpu_inc(mortis_counter);
		cpu_relax();
	}
}

static noinline void mortis_busy_outer(void)
{
	mortis_busy_inner();
	barrier();
}

static noinline void mortis_irq_over_kernel(void)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 13, 0)
	hrtimer_setup(&mortis_timer, mortis_irq, CLOCK_MONOTONIC, HRTIMER_MODE_REL_PINNED_HARD);
#else
	hrtimer_init(&mortis_timer, CLOCK_MONOTONIC, HRTIMER_MODE_REL_PINNED_HARD);
	mortis_timer.function = mortis_irq;
#endif
	hrtimer_start(&mortis_timer, ms_to_ktime(200), HRTIMER_MODE_REL_PINNED_HARD);
	mortis_busy_outer();
}

/* In interrupt context on the last CPU, where a user process spins. */
static void mortis_call(void *item)
{
	mortis_irq_inner(item);
	barrier();
}

static noinline void mortis_irq_over_user(void)
{
	smp_call_function_single(num_online_cpus() - 1, mortis_call, NULL, 1);
	msleep(10000);
}

static int mortis_crash(const char *name, const struct kernel_param *unused)
{
	if (sysfs_streq(name, "null"))
		return mortis_null_outer(1);
	if (sysfs_streq(name, "bug"))
		mortis_bug();
	else if (sysfs_streq(name, "stack"))
		return mortis_recurse(1);
	else if (sysfs_streq(name, "irq"))
		mortis_irq_over_kernel();
	else if (sysfs_streq(name, "irq-user"))
		mortis_irq_over_user();
	return -EINVAL;
}

static const struct kernel_param_ops mortis_crash_ops = { .set = mortis_crash };
module_param_cb(crash, &mortis_crash_ops, NULL, 0200);
MODULE_PARM_DESC(crash, "null|bug|stack|irq|irq-user, at once");

static int __init mortis_start(void)
{
	int cpu, error = mortis_allocate();

	if (error)
		return error;
	mortis_fill();
	for_each_possible_cpu(cpu)
		per_cpu(mortis_counter, cpu) = 1000 + cpu;
	mortis_waiter = kthread_run(mortis_wait, NULL, "mortis_wait");
	pr_info("mortis_lab: items %px list %px tree %px xarray %px hlist %px\n", mortis_items,
		&mortis_list, &mortis_tree, &mortis_xarray, &mortis_hlist);
	pr_info("mortis_lab: cache %px first object in use %px waiter %px\n", mortis_cache,
		mortis_objects[1], mortis_waiter);
	return 0;
}
module_init(mortis_start);

MODULE_AUTHOR("The Mortis authors");
MODULE_DESCRIPTION("Crashes the kernel in chosen ways, over known objects");
MODULE_LICENSE("Dual MIT/GPL");
