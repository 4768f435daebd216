/* server/powercut.c -- EXPELLING: the workers end its sessions. CUTTING: its cache loses what it holds. DOWN: nobody gets in.
 *
 *  EXPELLING --no session left--> CUTTING --cut--> DOWN --down_s--> freed
 *                                                  |  no down_s --------^
 *
 * P1  From the start until it is freed the export is down: negotiation.c lets nobody choose it, so the sessions that are to be
 *     expelled are all there are.
 * P2  The cut begins when the workers have no session of it any more: nothing that a client sent before can reach the disk
 *     after it, not even what a fault rule delays, and no reply that is based on what is lost can leave.
 */
#include "server/powercut.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache/volatile.h"
#include "conf/container.h"
#include "conf/log.h"
#include "server/expulsion.h"

/* Bytes of an export's name in the log. */
#define NAME_SHOWN 256

struct powercut {
	struct powercut *next, **link;
	struct powercuts *all; /* borrowed: outlives us */
	struct export *export; /* borrowed: one of --export, which live as long as the server */
	double down_s;
	struct expulsion expulsion;
	struct volatile_cut cut;
	ev_timer on_up;
	void (*done)(void *context, const struct powercut_result *result); /* NULL once it was told */
	void *context;
};

void powercuts_init(struct powercuts *powercuts, struct loop *loop, struct handshakes *handshakes)
{
	*powercuts = (struct powercuts){ .loop = loop, .handshakes = handshakes };
}

void powercuts_serve(struct powercuts *powercuts, struct worker *workers, unsigned count)
{
	powercuts->workers = workers;
	powercuts->worker_count = count;
}

static void powercut_free(struct powercut *powercut)
{
	ev_timer_stop(powercut->all->loop->ev, &powercut->on_up);
	expulsion_fini(&powercut->expulsion);
	if (powercut->next)
		powercut->next->link = powercut->link;
	*powercut->link = powercut->next;
	free(powercut);
}

void powercuts_fini(struct powercuts *powercuts)
{
	static const struct powercut_result ended = { .error = -ESHUTDOWN };
	struct powercut *next;

	for (struct powercut *powercut = powercuts->first; powercut; powercut = next) {
		next = powercut->next;
		if (powercut->done)
			powercut->done(powercut->context, &ended);
		powercut_free(powercut);
	}
}

static const char *quoted(const struct export *export, char out[NAME_SHOWN])
{
	return log_quote(out, NAME_SHOWN, export->spec.name, strlen(export->spec.name));
}

static void power_up(struct powercut *powercut)
{
	char name[NAME_SHOWN];

	powercut->export->down = false;
	log_info("export '%s' has power again", quoted(powercut->export, name));
	powercut_free(powercut);
}

static void on_up(struct ev_loop *ev, ev_timer *timer, int events)
{
	(void)ev;
	(void)events;
	power_up(timer->data);
}

static void tell(const struct powercut *powercut, const struct powercut_result *result)
{
	char name[NAME_SHOWN];

	if (result->error)
		log_error("export '%s': power cut: %s", quoted(powercut->export, name),
			strerror(-result->error));
	log_info("export '%s' lost power: of the writes in its cache, %" PRIu64 " are kept, %" PRIu64
		 " lost, "
		 "%" PRIu64 " torn (seed %" PRIu64 "); its verifier is %016" PRIx64,
		quoted(powercut->export, name), result->counts.kept, result->counts.lost, result->counts.torn,
		powercut->cut.order.seed, result->verifier);
}

static void on_cut(struct mail *mail)
{
	struct powercut *powercut = container_of(mail, struct powercut, cut.done);
	struct powercut_result result = { .error = powercut->cut.error, .counts = powercut->cut.counts };
	void (*done)(void *context, const struct powercut_result *result) = powercut->done;
	void *context = powercut->context;

	verifier_renew(&powercut->export->verifier);
	result.verifier = export_verifier(powercut->export);
	tell(powercut, &result);
	powercut->done = NULL;
	if (powercut->down_s > 0) {
		ev_timer_set(&powercut->on_up, powercut->down_s, 0);
		ev_timer_start(powercut->all->loop->ev, &powercut->on_up);
	} else {
		power_up(powercut);
	}
	done(context, &result);
}

/* P2 */
static void on_expelled(struct expulsion *expulsion)
{
	struct powercut *powercut = container_of(expulsion, struct powercut, expulsion);

	powercut->cut.owner = &powercut->all->loop->mailbox;
	powercut->cut.done.read = on_cut;
	volatile_cut(powercut->export->volatile_disk, &powercut->cut);
}

static struct powercut *new_powercut(
	struct powercuts *powercuts, struct export *export, const struct powercut_order *order)
{
	struct powercut *powercut = calloc(1, sizeof(*powercut));

	if (!powercut)
		return NULL;
	powercut->all = powercuts;
	powercut->export = export;
	powercut->down_s = order->down_s;
	powercut->cut.order = order->survival;
	powercut->expulsion = (struct expulsion){ .export = export,
		.reason = CLOSE_power_cut,
		.owner = &powercuts->loop->mailbox,
		.done = on_expelled };
	ev_timer_init(&powercut->on_up, on_up, 0, 0);
	powercut->on_up.data = powercut;
	powercut->next = powercuts->first;
	powercut->link = &powercuts->first;
	if (powercut->next)
		powercut->next->link = &powercut->next;
	powercuts->first = powercut;
	return powercut;
}

static int refuse(int error, const char *words, char *why, size_t why_size)
{
	snprintf(why, why_size, "%s", words);
	return error;
}

int powercut_start(struct powercuts *powercuts, struct export *export, const struct powercut_order *order,
	void (*done)(void *context, const struct powercut_result *result), void *context, char *why,
	size_t why_size)
{
	struct powercut *powercut;

	if (!export->volatile_disk)
		return refuse(-EINVAL, "it has no volatile cache (volatile=on)", why, why_size);
	if (export->down)
		return refuse(-EBUSY, "it has no power already", why, why_size);
	powercut = new_powercut(powercuts, export, order);
	if (!powercut)
		return refuse(-ENOMEM, "out of memory", why, why_size);
	powercut->done = done;
	powercut->context = context;
	if (expulsion_start(&powercut->expulsion, powercuts->workers, powercuts->worker_count)) {
		powercut_free(powercut);
		return refuse(-ENOMEM, "out of memory", why, why_size);
	}
	export->down = true; /* P1 */
	handshakes_expel(powercuts->handshakes, export, CLOSE_power_cut);
	return 0;
}
