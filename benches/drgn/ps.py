# One line a task: what ps shows that drgn has a helper for.
from drgn.helpers.linux.mm import task_rss, task_vsize
from drgn.helpers.linux.pid import for_each_task
from drgn.helpers.linux.sched import task_cpu, task_state_to_char

for task in for_each_task(prog):
    print(
        task.pid.value_(),
        task.parent.pid.value_(),
        task_cpu(task),
        hex(task.value_()),
        task_state_to_char(task),
        task_vsize(task) if task.mm else 0,
        task_rss(task).total if task.mm else 0,
        task.comm.string_().decode(),
    )
