/* Delays at every step of the thread team's protocol (csrc/os/threads.c built with SC_DELAYS), and CPUs that are not there. */
#ifndef DELAYS_H
#define DELAYS_H

/* Of a thousand steps so many are delayed, by `shortest` to `longest` microseconds; teams take part as if there were so many
 * CPUs. Without a call it is what the environment's DELAYS says, "SEED PERMILLE SHORTEST LONGEST CPUS". */
void delays_set(unsigned long long seed, unsigned permille, unsigned shortest, unsigned longest, int cpus);
/* A random number of this thread. */
unsigned delays_draw(unsigned below);
unsigned long long delays_so_far(void);

/* The step of the protocol, which csrc/os/threads.c calls. */
void sc_test_delay(void);

#endif
