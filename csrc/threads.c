/* A small team of POSIX threads with a barrier and a shared work counter. OpenMP is no choice: its runtime hangs in a
 * forked child. Waiting spins for a tenth of a millisecond, or two within a job, since the next operation usually comes
 * sooner than the kernel could wake a thread, and then sleeps. */
#define _GNU_SOURCE
#include "threads.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#if defined __x86_64__
#include <immintrin.h>
#endif

/* How long to wait awake, in pauses of about 35 ns on x86. Between jobs: long enough for Python to choose a token. Within
 * a job: longer than it takes to wake a thread, since who falls asleep meanwhile makes the other wait as long, and so on. */
enum { SPINS_BETWEEN_JOBS = 4000, SPINS_WITHIN_JOB = 64000, SPINS_PER_YIELD = 128 };

/* A number that threads wait on until it changes. */
typedef struct {
    atomic_uint value;
    atomic_int sleepers;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
} event;

typedef struct {
    sc_team *team;
    int index;
} worker;

struct sc_team {
    int wanted;  /* threads asked for */
    int size;    /* threads running, the caller included; set when they start */
    int started;
    int spins;   /* whether waiting threads spin before they sleep */
    unsigned owner; /* the process that the threads live in, by its number of forks */
    atomic_int stop;
    sc_job *job;
    void *argument;
    event work, phase;
    _Alignas(64) atomic_int arrived;
    _Alignas(64) atomic_llong counter;
    pthread_t *threads;
    worker *workers;
    atomic_int *cpu; /* per thread, where it ran last; -1 is unknown */
};

/* Forks between the process that loaded this library and this one. Process ids would not do: in another namespace a child
 * may have its parent's. */
static atomic_uint forks;
static pthread_once_t counting = PTHREAD_ONCE_INIT;
static int counts;

static void count_fork(void) { atomic_fetch_add(&forks, 1); }
static void start_counting(void) { counts = !pthread_atfork(NULL, NULL, count_fork); }

static int is_ours(const sc_team *team) { return team->started && team->owner == atomic_load(&forks); }

static void pause_briefly(void)
{
#if defined __x86_64__
    _mm_pause();
#elif defined __aarch64__
    __asm__ volatile("isb");
#endif
}

static void event_reset(event *s)
{
    atomic_store(&s->value, 0);
    atomic_store(&s->sleepers, 0);
    pthread_mutex_init(&s->mutex, NULL);
    pthread_cond_init(&s->changed, NULL);
}

static void event_raise(event *s)
{
    atomic_fetch_add(&s->value, 1);
    if (!atomic_load(&s->sleepers)) return;
    pthread_mutex_lock(&s->mutex);
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->mutex);
}

static void event_wait(event *s, unsigned old, int spins)
{
    for (int i = 1; i <= spins; i++) {
        if (atomic_load_explicit(&s->value, memory_order_acquire) != old) return;
        if (i % SPINS_PER_YIELD) pause_briefly();
        else sched_yield(); /* whom we wait for may be on this CPU */
    }
    atomic_fetch_add(&s->sleepers, 1);
    pthread_mutex_lock(&s->mutex);
    while (atomic_load(&s->value) == old) pthread_cond_wait(&s->changed, &s->mutex);
    pthread_mutex_unlock(&s->mutex);
    atomic_fetch_sub(&s->sleepers, 1);
}

unsigned long long sc_float_state_default(void)
{
#if defined __x86_64__
    const unsigned old = _mm_getcsr();
    _mm_setcsr(0x1F80);
    return old;
#elif defined __aarch64__
    unsigned long long old;
    __asm__ volatile("mrs %0, fpcr" : "=r"(old));
    __asm__ volatile("msr fpcr, %0" : : "r"(0ULL));
    return old;
#else
    return 0;
#endif
}

void sc_float_state_restore(unsigned long long old)
{
#if defined __x86_64__
    _mm_setcsr((unsigned)old);
#elif defined __aarch64__
    __asm__ volatile("msr fpcr, %0" : : "r"(old));
#else
    (void)old;
#endif
}

static int current_cpu(void)
{
#if defined __linux__
    return sched_getcpu();
#else
    return -1;
#endif
}

/* A woken thread often lands on its waker's CPU, and two that take turns there stay for seconds, however idle the other
 * CPUs are. The one that notices moves: its affinity leaves out the others' CPUs for a moment. */
static void move_apart(sc_team *team, int index)
{
    const int mine = current_cpu();
    int clash = 0;
    atomic_store_explicit(&team->cpu[index], mine, memory_order_relaxed);
    for (int i = 0; i < team->wanted; i++)
        clash |= i != index && atomic_load_explicit(&team->cpu[i], memory_order_relaxed) == mine;
    if (!clash || mine < 0 || !team->spins) return;
#if defined __linux__
    cpu_set_t allowed, apart;
    if (sched_getaffinity(0, sizeof allowed, &allowed)) return;
    apart = allowed;
    for (int i = 0; i < team->wanted; i++) {
        const int cpu = atomic_load_explicit(&team->cpu[i], memory_order_relaxed);
        if (i != index && cpu >= 0) CPU_CLR((size_t)cpu, &apart);
    }
    if (!CPU_COUNT(&apart) || sched_setaffinity(0, sizeof apart, &apart)) return;
    sched_setaffinity(0, sizeof allowed, &allowed);
    atomic_store_explicit(&team->cpu[index], current_cpu(), memory_order_relaxed);
#endif
}

int32_t sc_team_wanted(const sc_team *team) { return team->wanted; }

int sc_team_size(const sc_team *team) { return team->size; }

int64_t sc_team_next(sc_team *team) { return atomic_fetch_add_explicit(&team->counter, 1, memory_order_relaxed); }

void sc_team_barrier(sc_team *team)
{
    const unsigned phase = atomic_load(&team->phase.value);
    if (atomic_fetch_add(&team->arrived, 1) + 1 == team->size) {
        atomic_store(&team->arrived, 0);
        atomic_store(&team->counter, 0);
        event_raise(&team->phase);
    } else {
        event_wait(&team->phase, phase, team->spins * SPINS_WITHIN_JOB);
    }
}

static void *worker_main(void *argument)
{
    const worker *self = argument;
    sc_team *team = self->team;
    sc_float_state_default();
    for (unsigned seen = 0;; seen++) {
        event_wait(&team->work, seen, team->spins * SPINS_BETWEEN_JOBS);
        if (atomic_load(&team->stop)) return NULL;
        move_apart(team, self->index);
        team->job(team->argument, self->index);
        sc_team_barrier(team);
    }
}

sc_team *sc_team_new(int32_t threads)
{
    pthread_once(&counting, start_counting);
    if (!counts) return NULL;
    sc_team *team = aligned_alloc(64, sizeof *team);
    if (!team) return NULL;
    memset(team, 0, sizeof *team);
    team->wanted = threads;
    team->threads = calloc((size_t)threads, sizeof *team->threads);
    team->workers = calloc((size_t)threads, sizeof *team->workers);
    team->cpu = calloc((size_t)threads, sizeof *team->cpu);
    if (team->threads && team->workers && team->cpu) return team;
    sc_team_free(team);
    return NULL;
}

static void team_start(sc_team *team)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
#if defined __linux__
    cpu_set_t set;
    if (!sched_getaffinity(0, sizeof set, &set)) cpus = CPU_COUNT(&set);
#endif
    team->spins = team->wanted <= cpus; /* more threads than CPUs: spinning would keep others from working */
    for (int i = 0; i < team->wanted; i++) atomic_store(&team->cpu[i], -1);
    event_reset(&team->work);
    event_reset(&team->phase);
    atomic_store(&team->arrived, 0);
    atomic_store(&team->counter, 0);
    team->owner = atomic_load(&forks);
    team->started = 1;
    team->size = 1;
    sigset_t all, before; /* signals are the host's business: its own threads take them */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (; team->size < team->wanted; team->size++) {
        worker *w = &team->workers[team->size];
        *w = (worker){team, team->size};
        if (pthread_create(&team->threads[team->size], NULL, worker_main, w)) break;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void sc_team_run(sc_team *team, sc_job *job, void *argument)
{
    if (!is_ours(team)) team_start(team); /* the threads did not follow a fork */
    const unsigned long long state = sc_float_state_default();
    team->job = job;
    team->argument = argument;
    atomic_store_explicit(&team->cpu[0], current_cpu(), memory_order_relaxed);
    event_raise(&team->work);
    job(argument, 0);
    sc_team_barrier(team);
    sc_float_state_restore(state);
}

void sc_team_free(sc_team *team)
{
    if (!team) return;
    if (is_ours(team)) {
        atomic_store(&team->stop, 1);
        event_raise(&team->work);
        for (int i = 1; i < team->size; i++) pthread_join(team->threads[i], NULL);
    }
    free(team->threads);
    free(team->workers);
    free(team->cpu);
    free(team);
}
