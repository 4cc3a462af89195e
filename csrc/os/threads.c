/* A small team of threads. OpenMP will not do: its runtime hangs in a forked child.
 *
 * The protocol. `word` holds the number of the current phase, whether its units have owners, and the next unclaimed
 * unit. A unit is claimed by compare-and-swap, so a late thread cannot touch the counter of a later phase. An owned
 * unit is claimed through its owner's `own`, which moves once, from an earlier phase's number to this one's. Another
 * thread claims it only while it holds no unit: the thread that opens a phase is ahead of the others, and would take
 * their first units beside its own. A thread that finishes units counts them in `done`. The thread that counts the
 * last one opens the next phase, or closes the job. The description of a phase is stored twice, by the parity of its
 * number: phase p+2 does not open before p+1 is over, nor p+1 before p is.
 *
 *   - Only a thread that holds a unit of a phase, or opens the next one, reads the job, its argument and the phase's
 *     description. So these may lie on the stack of the caller, which returns when the job is closed.
 *   - A late thread may read the `total` of the phase after the next. The claim that follows then fails, since `word`
 *     has changed. The `own` of a finished phase is not below its number, so no thread claims its unit again.
 *   - Opening writes the description, then `word`, then `news`. Closing does the same, with a phase of 0 units, and the
 *     closing bit in `news`. Other threads may have finished the phase and opened later ones before its opener writes
 *     `news`, which only goes up.
 *
 * Waiting. A thread that finds no unit spins on `news`, a cache line that changes once per phase. It yields at once if
 * a team-mate was last seen on this CPU, since that one may hold the awaited unit. It sleeps after half a millisecond:
 * by then the unit's holder is not running. A thread that has had its CPU for 1.5 milliseconds yields while it holds
 * nothing, so that, beside another process, its time slice ends there and not within a unit. That costs a part of its
 * share: the other process runs until the next tick, and Linux 6.18 charges the yield as a whole slice. It pays while a
 * team-mate has a CPU to itself, and would wait for the unit. If all others lose their CPUs when they yield, a thread
 * keeps its own, and yields only now and then to see whether it still loses it: such threads come to run together,
 * since the one that waits soon sleeps, and runs at once when it is woken. */
#include "threads.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "bell.h"
#include "platform.h"
#include "stall.h"
#include "ticks.h"

enum {
    SLICE = 1500,         /* microseconds on a CPU after which a thread yields */
    SPIN_WITHIN = 500,    /* microseconds to spin within a job: longer than any wait for a running thread */
    SPIN_BETWEEN = 150,   /* between jobs: long enough for Python to choose a token */
    SPINS_PER_LOOK = 16,  /* pauses between two checks of the clock and of the others' CPUs */
    LOST = 200,           /* microseconds after which a yield has let another process run */
    SURE = 3,             /* yields that lose no CPU until it counts as the thread's own */
    LOOK_AGAIN = 100000,  /* microseconds between two yields while all others share their CPUs */
    APART = 4000          /* microseconds between two attempts to leave a team-mate's CPU */
};

struct sc_worker {
    _Alignas(64) sc_team *team;
    int index;
    uint64_t phase;    /* of the units in hand */
    uint32_t held;     /* units in hand, or done but not counted */
    uint64_t slice;    /* when it got its CPU, as far as it knows */
    uint64_t looked;   /* when it last yielded at the end of a slice */
    uint64_t apart;    /* when it last tried to leave a team-mate's CPU */
    sc_thread thread;
    _Atomic uint64_t waits, yields, sleeps;
    atomic_int shares; /* its CPU with other processes: the number of yields until it counts as its own */
    _Alignas(64) _Atomic uint64_t own; /* the last phase whose unit `index` was claimed, by any thread */
};

struct sc_team {
    int wanted;             /* threads asked for */
    int size;               /* threads that run, the caller included; set when they start */
    int started;
    unsigned owner;         /* the process of the threads, by its number of forks */
    atomic_int active;      /* threads that take part; the others are parked */
    atomic_int stop;
    _Atomic uint64_t ticks_per_ms;
    uint64_t start_ticks, start_ns;
    const sc_job *job;
    void *argument;
    sc_phase phases[2];
    sc_worker *workers;
    _Atomic int32_t *cpu;   /* per thread, where it ran last; -1 is unknown */
    sc_bell roster;         /* changes when `active` does */
    sc_bell news;           /* the current phase, times two; odd when the job is closed */
    _Alignas(64) _Atomic uint64_t word;
    _Alignas(64) _Atomic uint32_t done[2];
    _Atomic uint32_t total[2];
    _Atomic uint32_t owned[2]; /* owned units that are unclaimed */
};

/* Phase, owners' bit and next unit of `word`. Phase numbers have 43 bits, enough for a year of the shortest phases, and
 * wrap around. */
enum { INDEX_BITS = 20, PHASE_SHIFT = INDEX_BITS + 1 };
_Static_assert(SC_MAX_UNITS < 1 << INDEX_BITS, "an index has room");
static uint64_t phase_of(uint64_t word) { return word >> PHASE_SHIFT; }
static int has_owners(uint64_t word) { return word >> INDEX_BITS & 1; }
static uint32_t index_of(uint64_t word) { return (uint32_t)(word & ((1u << INDEX_BITS) - 1)); }
static uint64_t later(uint64_t phase, uint64_t by) { return phase_of((phase + by) << PHASE_SHIFT); }
static int is_before(uint64_t a, uint64_t b) { return (int64_t)((a - b) << PHASE_SHIFT) < 0; }

static int is_ours(const sc_team *team) { return team->started && team->owner == sc_forks(); }

static uint64_t microseconds(const sc_team *team, uint64_t count)
{
    return atomic_load_explicit(&team->ticks_per_ms, memory_order_relaxed) * count / 1000;
}

/* Adds one to a number that only this thread writes. */
static void count(_Atomic uint64_t *number)
{
    atomic_store_explicit(number, atomic_load_explicit(number, memory_order_relaxed) + 1, memory_order_relaxed);
}

static void yield(sc_worker *w)
{
    count(&w->yields);
    sc_thread_yield();
    w->slice = sc_ticks();
}

static int mate_has_its_cpu(const sc_worker *w)
{
    const int active = atomic_load_explicit(&w->team->active, memory_order_relaxed);
    for (int i = 0; i < active; i++)
        if (i != w->index && !atomic_load_explicit(&w->team->workers[i].shares, memory_order_relaxed)) return 1;
    return 0;
}

/* Whether the thread has had its CPU for long, and should yield. A lone thread never should: nobody waits for it. */
static int slice_is_over(sc_worker *w)
{
    const sc_team *team = w->team;
    const uint64_t now = sc_ticks();
    if (now - w->slice <= microseconds(team, SLICE)) return 0;
    if (mate_has_its_cpu(w)) return 1;
    const int alone = atomic_load_explicit(&team->active, memory_order_relaxed) == 1;
    if (!alone && now - w->looked > microseconds(team, LOOK_AGAIN)) return 1;
    w->slice = now;
    return 0;
}

/* Yields, and notes whether another process ran. */
static void end_slice(sc_worker *w)
{
    const uint64_t before = sc_ticks();
    yield(w);
    w->looked = w->slice;
    const int shares = atomic_load_explicit(&w->shares, memory_order_relaxed);
    const int lost = w->slice - before > microseconds(w->team, LOST);
    if (lost || shares) atomic_store_explicit(&w->shares, lost ? SURE : shares - 1, memory_order_relaxed);
}

/* Whether a team-mate was last seen on this thread's CPU. */
static int shares_cpu(const sc_worker *w)
{
    const sc_team *team = w->team;
    const int mine = atomic_load_explicit(&team->cpu[w->index], memory_order_relaxed);
    const int active = atomic_load_explicit(&team->active, memory_order_relaxed);
    for (int i = 0; i < active; i++)
        if (i != w->index && mine >= 0 && atomic_load_explicit(&team->cpu[i], memory_order_relaxed) == mine) return 1;
    return 0;
}

static void note_cpu(const sc_worker *w)
{
    const int cpu = sc_cpu_current();
    _Atomic int32_t *known = &w->team->cpu[w->index];
    if (atomic_load_explicit(known, memory_order_relaxed) != cpu)
        atomic_store_explicit(known, cpu, memory_order_relaxed);
}

/* A woken thread often lands on its waker's CPU, and two that take turns there stay for seconds, however idle other
 * CPUs are. The one that notices moves, unless it is the caller, whose affinity is the host's business. */
static void move_apart(sc_worker *w)
{
    sc_team *team = w->team;
    const uint64_t now = sc_ticks();
    if (!w->index || now - w->apart < microseconds(team, APART)) return;
    w->apart = now;
    if (sc_cpu_leave(team->cpu, atomic_load(&team->active), w->index)) note_cpu(w);
}

int32_t sc_team_wanted(const sc_team *team) { return team->wanted; }

sc_team_counts sc_team_counted(const sc_team *team)
{
    sc_team_counts all = {.phases = phase_of(atomic_load(&team->word))};
    for (int i = 0; i < team->wanted; i++) {
        const sc_worker *w = &team->workers[i];
        all.waits += atomic_load_explicit(&w->waits, memory_order_relaxed);
        all.yields += atomic_load_explicit(&w->yields, memory_order_relaxed);
        all.sleeps += atomic_load_explicit(&w->sleeps, memory_order_relaxed);
    }
    return all;
}

int sc_team_size(const sc_team *team) { return atomic_load_explicit(&team->active, memory_order_relaxed); }

int sc_worker_thread(const sc_worker *w) { return w->index; }

uint64_t sc_worker_phase(const sc_worker *w) { return w->phase; }

/* Claims the unit of `phase` that thread `index` owns. Returns 0 if it is taken. */
static int claim_own(sc_team *team, int index, uint64_t phase)
{
    _Atomic uint64_t *own = &team->workers[index].own;
    uint64_t old = atomic_load_explicit(own, memory_order_relaxed);
    SC_STALL();
    while (is_before(old, phase)) {
        if (atomic_compare_exchange_weak(own, &old, phase)) {
            atomic_fetch_sub_explicit(&team->owned[phase & 1], 1, memory_order_relaxed);
            return 1;
        }
    }
    return 0;
}

/* Claims a unit of `phase` for thread `index`; one that another thread owns, only if `others`. Returns -1 if none is
 * left, or the phase is over. */
static int64_t claim(sc_team *team, int index, uint64_t phase, int others)
{
    uint64_t word = atomic_load(&team->word);
    SC_STALL();
    if (phase_of(word) != phase) return -1;
    if (has_owners(word) && claim_own(team, index, phase)) return index;
    while (phase_of(word) == phase && index_of(word) < atomic_load(&team->total[phase & 1])) {
        SC_STALL();
        if (atomic_compare_exchange_weak(&team->word, &word, word + 1)) return index_of(word);
    }
    if (phase_of(word) != phase || !has_owners(word) || !others) return -1;
    for (int i = 0; i < team->size && atomic_load_explicit(&team->owned[phase & 1], memory_order_relaxed); i++)
        if (claim_own(team, i, phase)) return i;
    return -1;
}

int64_t sc_team_take(sc_worker *w)
{
    if (slice_is_over(w)) return -1;
    const int64_t index = claim(w->team, w->index, w->phase, 0);
    w->held += index >= 0;
    return index;
}

/* Opens the phase after `before`, or closes the job. */
static void open_next(sc_team *team, uint64_t before)
{
    const uint64_t phase = later(before, 1);
    const int parity = phase & 1;
    sc_phase next = team->phases[before & 1];
    const int opened = team->job->open(team->argument, &next);
    const uint32_t units = opened ? next.units : 0;
    uint32_t owned = 0;
    team->phases[parity] = next;
    SC_STALL();
    if (opened && next.own) {
        const uint32_t active = (uint32_t)sc_team_size(team);
        owned = units < active ? units : active;
        for (int i = (int)owned; i < team->size; i++)
            atomic_store_explicit(&team->workers[i].own, phase, memory_order_relaxed);
    }
    atomic_store_explicit(&team->owned[parity], owned, memory_order_relaxed);
    atomic_store_explicit(&team->done[parity], 0, memory_order_relaxed);
    atomic_store_explicit(&team->total[parity], units, memory_order_relaxed);
    SC_STALL();
    atomic_store(&team->word, (phase << 1 | (owned > 0)) << INDEX_BITS | owned);
    SC_STALL();
    sc_bell_ring(&team->news, (uint32_t)phase << 1 | !opened);
}

/* Counts the units in hand, which are done. */
static void let_go(sc_worker *w)
{
    sc_team *team = w->team;
    const int parity = w->phase & 1;
    const uint32_t held = w->held, total = atomic_load_explicit(&team->total[parity], memory_order_relaxed);
    SC_STALL();
    w->held = 0;
    if (atomic_fetch_add(&team->done[parity], held) + held == total) open_next(team, w->phase);
}

static void fall_asleep(sc_worker *w, sc_bell *bell, uint32_t seen)
{
    atomic_store_explicit(&w->team->cpu[w->index], -1, memory_order_relaxed); /* it blocks no other thread */
    sc_bell_sleep(bell, seen);
    w->slice = sc_ticks();
}

/* Waits until `news` is no longer `seen`. */
static void await(sc_worker *w, uint32_t seen, uint64_t spin)
{
    sc_team *team = w->team;
    const uint64_t start = sc_ticks();
    for (unsigned i = 1;; i++) {
        if (atomic_load(&team->news.value) != seen) return;
        sc_pause();
        if (i % SPINS_PER_LOOK) continue;
        note_cpu(w);
        if (shares_cpu(w)) {
            move_apart(w);
            yield(w);
        } else if (slice_is_over(w)) {
            end_slice(w);
        }
        if (sc_ticks() - start > spin) break;
    }
    count(&w->sleeps);
    fall_asleep(w, &team->news, seen);
}

/* Does units of the current phase, or waits for news: one round of every thread's loop. */
static void take_part(sc_worker *w, uint32_t seen)
{
    sc_team *team = w->team;
    note_cpu(w);
    if (slice_is_over(w)) end_slice(w);
    const uint64_t phase = phase_of(atomic_load(&team->word));
    const int64_t index = claim(team, w->index, phase, 1);
    if (index < 0) {
        count(&w->waits);
        await(w, seen, microseconds(team, SPIN_WITHIN));
        return;
    }
    w->phase = phase;
    w->held = 1;
    team->job->run(team->argument, &team->phases[phase & 1], w, (uint32_t)index);
    SC_STALL();
    let_go(w);
}

static void *worker_main(void *argument)
{
    sc_worker *w = argument;
    sc_team *team = w->team;
    sc_fpenv_default();
    w->slice = sc_ticks();
    for (;;) {
        const uint32_t roster = atomic_load(&team->roster.value), seen = atomic_load(&team->news.value);
        if (atomic_load(&team->stop)) return NULL;
        if (w->index >= atomic_load(&team->active)) fall_asleep(w, &team->roster, roster);
        else if (seen & 1) await(w, seen, microseconds(team, SPIN_BETWEEN));
        else take_part(w, seen);
    }
}

sc_team *sc_team_new(int32_t threads)
{
    if (!sc_forks_watch()) return NULL;
    sc_team *team = sc_lines_new(sizeof *team);
    if (!team) return NULL;
    team->wanted = threads;
    team->workers = sc_lines_new((size_t)threads * sizeof *team->workers);
    team->cpu = calloc((size_t)threads, sizeof *team->cpu);
    if (!team->workers || !team->cpu) {
        sc_team_free(team);
        return NULL;
    }
    return team;
}

/* Starts the threads, and starts them anew in a forked child, which has none of them. Phase numbers go on. */
static void team_start(sc_team *team)
{
    const uint64_t phase = later(phase_of(atomic_load(&team->word)), 2);
    for (int i = 0; i < 2; i++) atomic_store(&team->total[i], 0);
    atomic_store(&team->word, phase << PHASE_SHIFT);
    sc_bell_reset(&team->news, (uint32_t)phase << 1 | 1);
    sc_bell_reset(&team->roster, 0);
    for (int i = 0; i < team->wanted; i++) {
        atomic_store(&team->cpu[i], -1);
        team->workers[i].team = team;
        team->workers[i].index = i;
        team->workers[i].held = 0;
    }
    team->start_ticks = sc_ticks();
    team->start_ns = sc_nanoseconds();
    atomic_store(&team->ticks_per_ms, 3000000); /* until enough time has passed to measure it */
    atomic_store(&team->active, 1);
    team->owner = sc_forks();
    team->started = 1;
    team->size = 1;
    for (; team->size < team->wanted; team->size++) {
        sc_worker *w = &team->workers[team->size];
        if (!sc_thread_start(&w->thread, worker_main, w)) break;
    }
}

/* Lets as many threads take part as there are CPUs for them: more would keep each other from working. */
static void call_up(sc_team *team)
{
    const int allowed = sc_cpus_allowed(), active = allowed && allowed < team->size ? allowed : team->size;
    const uint64_t ns = sc_nanoseconds() - team->start_ns;
    if (ns > 1000000) atomic_store(&team->ticks_per_ms, (sc_ticks() - team->start_ticks) / (ns / 1000000));
    if (active == atomic_load(&team->active)) return;
    atomic_store(&team->active, active);
    sc_bell_ring(&team->roster, atomic_load(&team->roster.value) + 1);
}

void sc_team_run(sc_team *team, const sc_job *job, void *argument)
{
    if (!is_ours(team)) team_start(team);
    const unsigned long long state = sc_fpenv_default();
    sc_worker *self = &team->workers[0];
    const uint64_t before = phase_of(atomic_load(&team->word));
    call_up(team);
    team->job = job;
    team->argument = argument;
    team->phases[before & 1] = (sc_phase){0};
    open_next(team, before);
    for (uint32_t seen; !((seen = atomic_load(&team->news.value)) & 1);) take_part(self, seen);
    sc_fpenv_restore(state);
}

typedef struct {
    size_t count, size; /* of a unit */
    void (*unit)(void *argument, size_t index);
    void *argument;
} loop;

static int open_loop(void *argument, sc_phase *phase)
{
    const loop *l = argument;
    const int first = !phase->units;
    phase->units = (uint32_t)((l->count + l->size - 1) / l->size);
    return first && phase->units;
}

static void run_loop(void *argument, const sc_phase *phase, sc_worker *worker, uint32_t index)
{
    const loop *l = argument;
    (void)phase;
    for (int64_t unit = index; unit >= 0; unit = sc_team_take(worker)) {
        const size_t first = (size_t)unit * l->size, last = first + l->size < l->count ? first + l->size : l->count;
        for (size_t i = first; i < last; i++) l->unit(l->argument, i);
    }
}

void sc_team_for(sc_team *team, size_t count, void (*unit)(void *argument, size_t index), void *argument)
{
    static const sc_job job = {open_loop, run_loop};
    loop l = {count, 1 + count / SC_MAX_UNITS, unit, argument};
    sc_team_run(team, &job, &l);
}

void sc_team_free(sc_team *team)
{
    if (!team) return;
    if (is_ours(team)) {
        atomic_store(&team->stop, 1);
        sc_bell_ring(&team->roster, atomic_load(&team->roster.value) + 1);
        sc_bell_ring(&team->news, atomic_load(&team->news.value) + 2);
        for (int i = 1; i < team->size; i++) sc_thread_join(team->workers[i].thread);
    }
    sc_lines_free(team->workers);
    free(team->cpu);
    sc_lines_free(team);
}
