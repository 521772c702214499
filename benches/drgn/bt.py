# The stack of the task that died.
print(prog.crashed_thread().stack_trace())
