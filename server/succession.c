/* server/succession.c -- one expulsion for each connection that follows others.
 *
 * S1  It lives until the workers have answered, whoever waits: their letters are in it.
 */
#include "server/succession.h"

#include <stdlib.h>

#include "conf/container.h"
#include "server/expulsion.h"
#include "server/limits.h"

struct succession {
	struct succession *next, **link;
	struct successions *all; /* borrowed: outlives us */
	struct lineage heir;
	struct expulsion expulsion;
	void (*done)(void *context); /* NULL: nobody waits */
	void *context;
};

void successions_init(struct successions *successions, struct loop *loop)
{
	*successions = (struct successions){ .loop = loop };
}

void successions_serve(struct successions *successions, struct worker *workers, unsigned count)
{
	successions->workers = workers;
	successions->worker_count = count;
}

static void succession_free(struct succession *succession)
{
	succession->all->count--;
	if (succession->next)
		succession->next->link = succession->link;
	*succession->link = succession->next;
	expulsion_fini(&succession->expulsion);
	free(succession);
}

void successions_fini(struct successions *successions)
{
	struct succession *next;

	for (struct succession *succession = successions->first; succession; succession = next) {
		next = succession->next;
		succession_free(succession);
	}
}

static void on_expelled(struct expulsion *expulsion)
{
	struct succession *succession = container_of(expulsion, struct succession, expulsion);
	void (*done)(void *context) = succession->done;
	void *context = succession->context;

	succession_free(succession);
	if (done)
		done(context);
}

static void link_into(struct successions *successions, struct succession *succession)
{
	succession->all = successions;
	succession->next = successions->first;
	succession->link = &successions->first;
	if (succession->next)
		succession->next->link = &succession->next;
	successions->first = succession;
	successions->count++;
}

struct succession *succession_start(struct successions *successions, const struct export *export,
	const struct lineage *heir, void (*done)(void *context), void *context)
{
	struct succession *succession;

	if (successions->count >= SUCCESSIONS_MAX)
		return NULL;
	succession = calloc(1, sizeof(*succession));
	if (!succession)
		return NULL;
	succession->heir = *heir;
	succession->done = done;
	succession->context = context;
	succession->expulsion = (struct expulsion){ .export = export,
		.heir = &succession->heir,
		.reason = CLOSE_succeeded,
		.owner = &successions->loop->mailbox,
		.done = on_expelled };
	link_into(successions, succession);
	if (expulsion_start(&succession->expulsion, successions->workers, successions->worker_count) == 0)
		return succession;
	succession_free(succession);
	return NULL;
}

void succession_forget(struct succession *succession)
{
	succession->done = NULL;
}
