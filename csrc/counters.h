/* Counts of live things in the core, kept in the flavours debug and asan only.
 *
 * The counts themselves are one array in partisan/_core/counters.pyx, which every extension shares. Without
 * PARTISAN_DEBUG the macro leaves nothing behind, so it may stand on the hottest path.
 */
#ifndef PARTISAN_COUNTERS_H
#define PARTISAN_COUNTERS_H

#ifdef PARTISAN_DEBUG
#define PARTISAN_COUNTING 1
#define partisan_count(which, by) ((void)(*(which) += (by)))
#else
#define PARTISAN_COUNTING 0
#define partisan_count(which, by) ((void)0)
#endif

#endif
