/* What the CPU can do. */
#ifndef SC_CPU_H
#define SC_CPU_H

/* Whether the running CPU and operating system support a level, SC_ISA_*. Takes microseconds. */
int sc_cpu_supports(int level);

#endif
