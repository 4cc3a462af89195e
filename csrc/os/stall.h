/* A place in a protocol between threads. A test build stalls threads at any of them. */
#ifndef SC_STALL_H
#define SC_STALL_H

#if defined SC_DELAYS
void sc_test_delay(void);
#define SC_STALL() sc_test_delay()
#else
#define SC_STALL() ((void)0)
#endif

#endif
