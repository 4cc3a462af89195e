/* A step of a protocol between threads: a build for tests stalls threads at any of them. */
#ifndef SC_STEP_H
#define SC_STEP_H

#if defined SC_DELAYS
void sc_test_delay(void);
#define SC_STEP() sc_test_delay()
#else
#define SC_STEP() ((void)0)
#endif

#endif
