/* server/fault.h -- the fault rules of one export, or of the server, while it runs.
 *
 * Rules are tried in the order in which they were added. Times add up; of what happens to the data, and of what happens to
 * the reply, the first rule that fires is the only one: those behind it have no effect on that request, and do not count it
 * as fired. (Places: server/fault_words.def.)
 *
 * Any thread. Nobody outside holds a pointer to a rule: what is to happen is copied, and whoever waits for a rule knows it by
 * its number, and asks whether it is still there.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/fault_data.h"
#include "server/fault_when.h"

struct fault;

struct fault_set {
	atomic_bool armed; /* shared: whether there are rules; written under lock */
	pthread_mutex_t lock;
	struct fault *first, **last; /* shared: under lock; owned */
	unsigned count;		     /* shared: under lock */
	const char *name;	     /* borrowed: the export's, which lives as long; NULL: the server's */
};

void fault_set_init(struct fault_set *set, const char *export_name);
void fault_set_fini(struct fault_set *set);

static inline bool fault_set_is_armed(const struct fault_set *set)
{
	return atomic_load_explicit(&set->armed, memory_order_relaxed);
}

/* fault_set_add() - parse @text as one more rule.
 * Returns its number, > 0, which no other rule of this process has; or -errno with the reason in @why. */
int fault_set_add(struct fault_set *set, const char *text, char *why, size_t why_size);

/* Whether there was one of that number. What it holds up is free to go: tell those who ask fault_set_holds(). */
bool fault_set_remove(struct fault_set *set, unsigned id);
/* Returns how many there were. */
unsigned fault_set_clear(struct fault_set *set);

/* fault_set_release() - what rule @id, or, 0, every rule, has held up until now may go. Returns whether there is one. */
bool fault_set_release(struct fault_set *set, unsigned id);

/* Calls @each for every rule, in order. @rule: its text. */
void fault_set_for_each(struct fault_set *set,
	void (*each)(void *context, unsigned id, const char *rule, uint64_t matched, uint64_t fired),
	void *context);

/* What is to happen to one request, or one connection. */
struct fault_verdict {
	uint64_t delay_ns;
	unsigned delay_id; /* of the first rule that delays */
	struct fault_effect data, reply;
	uint64_t ticket; /* for fault_set_holds() */
	bool keeps;	 /* a rule wants to know what is overwritten: fault_set_keeps() */
};

/* fault_set_judge() - count @event, tell the log what fires, and copy what is to happen.
 * @facts, @block: of a request; NULL for a connection without export.
 * Returns whether anything is to happen. */
bool fault_set_judge(struct fault_set *set, const struct fault_event *event, const struct disk_facts *facts,
	const struct block_req *block, struct fault_verdict *out);

/* fault_set_holds() - whether rule @id is there and has not released what got @ticket. */
bool fault_set_holds(struct fault_set *set, unsigned id, uint64_t ticket);

/* What rules with "corrupt old" keep: bytes as they were when the rule was added, or rather, before the first change that was
 * judged since.
 *
 * fault_set_keeps() - whether bytes have to be kept before the change of @length bytes at @offset.
 * @from, @to: get the range that is to be read and given to fault_set_keep() first, in whole blocks of the disk.
 * fault_set_recall() - put what rule @id has kept of @length bytes at @offset into @data. */
bool fault_set_keeps(struct fault_set *set, const struct disk_facts *facts, uint64_t offset, uint64_t length,
	uint64_t *from, uint64_t *to);
void fault_set_keep(struct fault_set *set, uint64_t from, uint64_t to, const uint8_t *bytes);
void fault_set_recall(struct fault_set *set, unsigned id, uint64_t offset, uint64_t length, uint8_t *data);
