# The stack of every task.
from drgn.helpers.linux.pid import for_each_task

for task in for_each_task(prog):
    try:
        print(task.pid.value_(), task.comm.string_().decode())
        print(prog.stack_trace(task))
    except (ValueError, LookupError) as error:
        print(error)
