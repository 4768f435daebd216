/* client/engine_libnbd.c -- libnbd's own transmission: for TLS, and to hold the other engine against.
 *
 * libnbd's callbacks may run inside any call of ours into it, even inside the one that hands over a command.
 */
#include "client/engine.h"

#include <assert.h>
#include <errno.h>
#include <ev.h>
#include <stdlib.h>

#include "client/nbd_error.h"
#include "conf/container.h"
#include "server/nbd_wire.h"

/* Replies taken before other watchers of the loop have their turn. */
#define REPLIES_PER_TURN 64u

/* Room for libnbd's words. */
#define WHY_SIZE 256

struct engine_libnbd {
	struct engine engine;
	struct nbd_handle *nbd; /* owned */
	const char *uri;	/* borrowed: see engine_new() */
	unsigned in_flight;
	unsigned answers; /* since this turn began */
	bool dying;	  /* commands in flight were told so one by one; the reason follows */
	bool lost;
};

static struct engine_libnbd *libnbd_of(const struct engine *engine)
{
	return container_of(engine, struct engine_libnbd, engine);
}

static void lose(struct engine_libnbd *libnbd, const char *why)
{
	if (libnbd->lost)
		return;
	libnbd->lost = true;
	libnbd->engine.owner->lost(libnbd->engine.owner, why);
}

static void lose_as_libnbd_says(struct engine_libnbd *libnbd)
{
	char why[WHY_SIZE];

	lose(libnbd, libnbd_why(libnbd->uri, why, sizeof(why)));
}

/* libnbd looks whether a read got all of its data when it is asked for the answer, not when it tells us that it has come. */
static int on_chunk(
	void *user_data, const void *data, size_t length, uint64_t offset, unsigned status, int *error)
{
	struct command *command = command_of(user_data);

	(void)data;
	(void)offset;
	(void)error;
	if (status != LIBNBD_READ_ERROR)
		command->wire.received += length;
	return 0;
}

static bool is_whole(const struct command *command)
{
	return command->type != NBD_CMD_READ || command->wire.received == command->length;
}

static int on_reply(void *user_data, int *error)
{
	struct command *command = command_of(user_data);
	struct engine_libnbd *libnbd = libnbd_of(command->engine);

	if (*error == 0 && !is_whole(command))
		*error = EPROTO;
	if (libnbd_lost_it(*error)) {
		libnbd->dying = true;
		if (*error == ESHUTDOWN)
			lose(libnbd, "the server is shutting down");
		else if (*error == EPROTO)
			lose(libnbd, "the server's reply breaks the protocol");
		return 1;
	}
	libnbd->in_flight--;
	libnbd->answers++;
	command->status = errno_of_libnbd(*error);
	libnbd->engine.owner->answered(libnbd->engine.owner, command);
	return 1;
}

static int64_t issue(struct nbd_handle *nbd, struct command *command)
{
	nbd_completion_callback replied = { .callback = on_reply, .user_data = command };
	nbd_chunk_callback chunk = { .callback = on_chunk, .user_data = command };
	uint64_t offset = command->offset, length = command->length;

	switch (command->type) {
	case NBD_CMD_READ:
		command->wire.received = 0;
		return nbd_aio_pread_structured(
			nbd, command_flat_data(command), length, offset, chunk, replied, 0);
	case NBD_CMD_WRITE:
		return nbd_aio_pwrite(
			nbd, command_flat_data(command), length, offset, replied, command->flags);
	case NBD_CMD_TRIM:
		return nbd_aio_trim(nbd, length, offset, replied, command->flags);
	case NBD_CMD_WRITE_ZEROES:
		return nbd_aio_zero(nbd, length, offset, replied, command->flags);
	case NBD_CMD_CACHE:
		return nbd_aio_cache(nbd, length, offset, replied, 0);
	default:
		assert(command->type == NBD_CMD_FLUSH);
		return nbd_aio_flush(nbd, replied, 0);
	}
}

static bool libnbd_issue(struct engine *engine, struct command *command)
{
	struct engine_libnbd *libnbd = libnbd_of(engine);

	command->engine = engine;
	libnbd->in_flight++;
	if (issue(libnbd->nbd, command) < 0 || libnbd->dying)
		lose_as_libnbd_says(libnbd);
	return true;
}

/* It sends each command when it gets it. */
static void libnbd_flush(struct engine *engine)
{
	(void)engine;
}

static int events_of(unsigned direction)
{
	return (direction & LIBNBD_AIO_DIRECTION_READ ? EV_READ : 0) |
	       (direction & LIBNBD_AIO_DIRECTION_WRITE ? EV_WRITE : 0);
}

static int libnbd_events(const struct engine *engine)
{
	return events_of(nbd_aio_get_direction(libnbd_of(engine)->nbd));
}

/* One step of libnbd's own state machine. Returns whether it may have more to do at once. */
static bool notify(struct engine_libnbd *libnbd, int revents)
{
	int waits_for = libnbd_events(&libnbd->engine) & revents;
	unsigned answers = libnbd->answers;
	int failed = 0;

	if (waits_for & EV_READ)
		failed = nbd_aio_notify_read(libnbd->nbd);
	else if (waits_for & EV_WRITE)
		failed = nbd_aio_notify_write(libnbd->nbd);
	if (failed)
		lose_as_libnbd_says(libnbd);
	else if (libnbd->dying || nbd_aio_is_closed(libnbd->nbd))
		lose(libnbd, NULL);
	return !libnbd->lost && libnbd->answers != answers;
}

/* libnbd that was told to read where nothing was stays in a state in which it sends nothing, until the next reply; told
 * again, it leaves it. (A TLS record without data, or in parts, brings it there too.) */
static void leave_empty_read(struct engine_libnbd *libnbd)
{
	if (!libnbd->lost && !nbd_aio_is_ready(libnbd->nbd) &&
		nbd_aio_get_direction(libnbd->nbd) == LIBNBD_AIO_DIRECTION_READ)
		notify(libnbd, EV_READ);
}

/* Replies come in batches; libnbd takes one at a time. Reading on until none is left spares a poll(2) for each, and the
 * guest gets them together. */
static void libnbd_on_ready(struct engine *engine, int revents)
{
	struct engine_libnbd *libnbd = libnbd_of(engine);

	libnbd->answers = 0;
	while (notify(libnbd, revents) && libnbd->in_flight && libnbd->answers < REPLIES_PER_TURN)
		;
	leave_empty_read(libnbd);
	/* Replies that never end must not keep requests from leaving. */
	if (revents == (EV_READ | EV_WRITE) && !libnbd->lost)
		notify(libnbd, EV_WRITE);
}

static void libnbd_disconnect(struct engine *engine)
{
	nbd_aio_disconnect(libnbd_of(engine)->nbd, 0);
}

static void libnbd_free(struct engine *engine)
{
	struct engine_libnbd *libnbd = libnbd_of(engine);

	libnbd->lost = true; /* nobody is to be told */
	nbd_close(libnbd->nbd);
	free(libnbd);
}

static const struct engine_ops libnbd_ops = {
	.issue = libnbd_issue,
	.flush = libnbd_flush,
	.on_ready = libnbd_on_ready,
	.events = libnbd_events,
	.disconnect = libnbd_disconnect,
	.free = libnbd_free,
};

struct engine *engine_libnbd_new(struct nbd_handle *nbd, const char *uri, struct engine_owner *owner)
{
	struct engine_libnbd *libnbd = calloc(1, sizeof(*libnbd));

	if (!libnbd)
		return NULL;
	libnbd->engine = (struct engine){ .ops = &libnbd_ops, .owner = owner, .fd = nbd_aio_get_fd(nbd) };
	libnbd->nbd = nbd;
	libnbd->uri = uri;
	return &libnbd->engine;
}
