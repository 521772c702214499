//! Corrupt lists: a loop, a wild pointer and a freed page in each kind of list and tree that
//! commands walk. Each must end soon, say that something is wrong, and tell what came before.

use crate::exercise::{alone, run, session};
use crate::files::sample;
use crate::memory::damaged;
use mortis_dump_synthetic::Faults;
use mortis_memory::{PhysAddr, VirtAddr, VirtualMemory};
use mortis_shell::session::Session;

/// A list, and a command that walks it.
struct List {
    /// The command.
    line: &'static str,
    /// C for a pointer in the middle of the list, as an lvalue.
    pointer: &'static str,
    /// Whether something of the list comes before that pointer.
    begins: bool,
}

const fn list(line: &'static str, pointer: &'static str) -> List {
    List { line, pointer, begins: true }
}

/// One whose first pointer it is, so that nothing may be left of it.
const fn first(line: &'static str, pointer: &'static str) -> List {
    List { line, pointer, begins: false }
}

const LISTS: &[List] = &[
    list("mod", "modules.next->next"),
    list("list -H modules", "modules.next->next"),
    list("list -H init_task.tasks", "init_task.tasks.next->next"),
    list("kmem -s", "slab_caches.next->next->next"),
    list("kmem -v", "vmap_nodes[0].busy.head.next->next"),
    list("kmem -f", "node_data[0]->node_zones[1].free_area[10].free_list[1].next->next"),
    list("kmem -F", "node_data[0]->node_zones[1].free_area[10].free_list[1].next->next"),
    list("net", "init_net.dev_base_head.next->next"),
    list("list task_struct.tasks -h init_task -s task_struct.pid", "init_task.tasks.next->next"),
    list(
        "tree -t rb free_vmap_area_root",
        "((struct rb_root *)&free_vmap_area_root)->rb_node->rb_left",
    ),
    first("tree -t rb -l free_vmap_area_root", "((struct rb_root *)&free_vmap_area_root)->rb_node"),
    list(
        "tree -t maple sparse_irqs",
        "((struct maple_node *)((unsigned long)sparse_irqs.ma_root & ~0xff))->ma64.slot[1]",
    ),
    list("waitq kauditd_wait", "((struct wait_queue_head *)&kauditd_wait)->head.next->next"),
    list("runq -g", "root_task_group.children.next->next"),
    list("cgroup", "cgrp_dfl_root.cgrp.self.children.next->next"),
    list("cgroup -t /", "cgrp_dfl_root.cgrp.cset_links.next->next"),
    list("trace", "ftrace_trace_arrays.next->next"),
    list("timer -r", "hrtimer_bases:0.clock_base[0].active.rb_root.rb_root.rb_node"),
    first("dev -d", "class_kset->list.next->next"),
    first("dev -p", "pci_root_buses.next"),
    first("mount", "init_task.nsproxy->mnt_ns->mounts.rb_node"),
];

/// What is put in place of the pointer.
#[derive(Clone, Copy, Debug)]
enum Damage {
    /// The entry points to itself.
    Loop,
    /// LIST_POISON1: what `list_del()` leaves.
    Wild,
    /// The page that it points to is not in the dump.
    Freed,
}

fn pointer_of(session: &mut Session, expression: &str) -> (VirtAddr, PhysAddr, VirtAddr) {
    let at = session.address(&format!("(&({expression}))"));
    let at = at.unwrap_or_else(|error| panic!("{expression}: {error}"));
    let memory = session.kernel.memory();
    let physical = memory.translate(at).expect("a pointer in the dump");
    (at, physical, memory.read_pointer(at).expect("a pointer in the dump"))
}

/// What the JSON of `line` has: the number of items, and whether it says that something is wrong.
fn told(answer: &Result<String, String>) -> (usize, bool) {
    let Ok(json) = answer else { return (0, true) };
    let json: serde_json::Value = serde_json::from_str(json).expect("checked by run");
    let some = |member: &str| json[member].as_array().map_or(0, Vec::len);
    (some("items"), some("warnings") > 0 || !json["error"].is_null())
}

#[test]
fn every_list_that_is_corrupt_is_told_as_far_as_it_goes() {
    let _alone = alone();
    let file = sample();
    let open = |faults| {
        session(damaged(&file, faults).expect("the file itself is sound")).expect("a kernel")
    };
    let mut sound = open(Faults::default());
    let mut failures = Vec::new();
    for list in LISTS {
        let (items, complaint) = told(&run(&mut sound, list.line, "sound"));
        if items == 0 || complaint {
            failures.push(format!("`{}` has {items} items in a sound dump", list.line));
            continue;
        }
        let (at, physical, next) = pointer_of(&mut sound, list.pointer);
        for damage in [Damage::Loop, Damage::Wild, Damage::Freed] {
            let mut faults = Faults::default();
            match damage {
                Damage::Loop => faults.change(physical, &at.0.to_le_bytes()),
                Damage::Wild => faults.change(physical, &0xdead_0000_0000_0100u64.to_le_bytes()),
                Damage::Freed => {
                    let Ok(page) = sound.kernel.memory().translate(next) else { continue };
                    faults.lose(page);
                }
            }
            let what = format!("{damage:?} at {}", list.pointer);
            let answer = run(&mut open(faults), list.line, &what);
            let (items, complaint) = told(&answer);
            if !complaint {
                failures.push(format!("`{}`, {what}: {items} items, no word of it", list.line));
            }
            // A page that is gone may have held what came before, too.
            if list.begins && items == 0 && !matches!(damage, Damage::Freed) {
                failures.push(format!("`{}`, {what}: nothing: {answer:?}", list.line));
            }
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}
