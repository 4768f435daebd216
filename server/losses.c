/* server/losses.c -- one expulsion for each export that has lost writes. */
#include "server/losses.h"

#include <stdlib.h>

#include "conf/container.h"
#include "server/expulsion.h"

struct loss {
	struct loss *next, **link;
	struct losses *all;    /* borrowed: outlives us */
	struct export *export; /* owned: a reference */
	struct expulsion expulsion;
};

void losses_init(struct losses *losses, struct loop *loop, struct handshakes *handshakes)
{
	*losses = (struct losses){ .loop = loop, .handshakes = handshakes };
}

void losses_serve(struct losses *losses, struct worker *workers, unsigned count)
{
	losses->workers = workers;
	losses->worker_count = count;
}

static void loss_free(struct loss *loss)
{
	if (loss->next)
		loss->next->link = loss->link;
	*loss->link = loss->next;
	expulsion_fini(&loss->expulsion);
	export_put(loss->export);
	free(loss);
}

void losses_fini(struct losses *losses)
{
	struct loss *next;

	for (struct loss *loss = losses->first; loss; loss = next) {
		next = loss->next;
		loss_free(loss);
	}
}

static void on_expelled(struct expulsion *expulsion)
{
	loss_free(container_of(expulsion, struct loss, expulsion));
}

static void link_into(struct losses *losses, struct loss *loss)
{
	loss->all = losses;
	loss->next = losses->first;
	loss->link = &losses->first;
	if (loss->next)
		loss->next->link = &loss->next;
	losses->first = loss;
}

void losses_found(struct losses *losses, struct export *export)
{
	struct loss *loss = calloc(1, sizeof(*loss));

	if (!loss) {
		export_put(export);
		return;
	}
	loss->export = export;
	loss->expulsion = (struct expulsion){ .export = export,
		.reason = CLOSE_writes_lost,
		.owner = &losses->loop->mailbox,
		.done = on_expelled };
	link_into(losses, loss);
	handshakes_expel(losses->handshakes, export, CLOSE_writes_lost);
	if (expulsion_start(&loss->expulsion, losses->workers, losses->worker_count))
		loss_free(loss);
}
