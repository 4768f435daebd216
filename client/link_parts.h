/* client/link_parts.h -- the inside of a link, for the files that make it up, and for nobody else.
 *
 *   link.c           birth, end, and what others ask
 *   link_states.c    the states: dialling, connections, timers, and what the log is told
 *   link_requests.c  requests out and answers in; recalling
 *   link_renew.c     the end of a connection that is given up on purpose
 *   link_replay.c    what is done and not yet flushed: kept, and sent again where the server may have lost it
 *
 * L1  A request that was submitted is in exactly one place until done(): waiting (a block request), or as a command in
 *     unsent, sent or answered.
 * L2  sent holds what the engine has; it is empty in DOWN and DIALLING, so no dead connection can write to guest memory.
 * L3  The engine's callbacks only move commands to answered, or mark the link doomed: they may run inside any call of ours
 *     into it, even inside the one that hands over a command.
 * L4  done() runs only from on_socket(), on_dial() and on_timer(), so never inside disk_submit().
 * L5  Commands go out from on_turn(), once a turn of the loop, and after answers: so that a batch leaves together.
 * L6  Only link_handle() writes link->state.
 * L7  DRAINED comes only when nothing is in flight: no command of the connection that is given up can land later.
 */
#pragma once

#include "client/command_list.h"
#include "client/dial.h"
#include "client/engine.h"
#include "client/link.h"
#include "client/link_state.h"
#include "client/replay.h"
#include "client/session_name.h"
#include "conf/container.h"
#include "conf/loop.h"

#define LINK_NAME_SIZE 300

/* Commands that send again what was kept, at a time. */
#define LINK_AGAIN_MAX 16u

/* Of link->commands, behind those of requests, the one at the same place carries it out. */
struct again_slot {
	struct link *link; /* borrowed: has us */
	bool busy;
	struct block_req req;
	struct iovec iov;
};

struct link {
	struct disk disk;
	struct loop *loop;	  /* borrowed: see link_config */
	const char *uri;	  /* borrowed: see link_config */
	struct link_watch *watch; /* borrowed: see link_config; NULL once the first dial succeeded */
	struct link_sizes *sizes; /* borrowed: see link_config; NULL: nobody */
	char name[LINK_NAME_SIZE];
	char session[SESSION_NAME_SIZE]; /* empty: none */
	bool readonly;

	enum link_state state;
	struct nbd_handle *nbd; /* owned: in DIALLING, until there is an engine */
	struct engine *engine;	/* owned: in REPLAYING, READY, DRAINING; NULL: none */
	struct engine_owner engine_owner;
	bool doomed;	   /* the connection is lost; on_timer or on_socket takes it to DOWN */
	bool has_promised; /* disk.facts is valid */
	bool has_offer;	   /* offer is valid */
	bool proved;	   /* this connection has answered a command */
	struct offer offer;
	unsigned backoff_ms;	  /* before the next dial */
	ev_tstamp dialled_at;	  /* loop time of the latest dial */
	ev_tstamp drain_deadline; /* loop time */
	ev_tstamp lost_at; /* loop time of the latest loss of a connection that worked; 0: none since READY */
	char why[OFFER_WHY_SIZE];  /* why this dial or connection failed */
	char told[OFFER_WHY_SIZE]; /* what was logged last about it: not every dial says the same again */

	ev_io on_dial;		      /* DIALLING: libnbd's socket */
	struct loop_source on_socket; /* the engine's */
	/* DOWN: the next dial; DIALLING, DRAINING: the deadline; else at once, to look after L4 */
	ev_timer on_timer;
	struct loop_turn turn;

	struct block_req *waiting, **last_waiting;
	struct command_list unsent, sent, answered, idle;
	/* Before a connection is renewed, where others do not flush for it. */
	struct {
		struct block_req req;
		bool running, done, failed; /* done, failed: since DRAINING began */
	} last_flush;
	unsigned load;
	struct flat_pool flats;
	/* link_replay.c's */
	struct replay replay;
	struct dial_verifier verifier; /* of this connection */
	uint64_t verifier_kept;
	bool sync_failed;
	struct {
		bool running;
		uint64_t at; /* in replay: what is sent next */
		unsigned in_flight;
		struct command_list unsent;
		struct again_slot slots[LINK_AGAIN_MAX];
	} again;
	struct command commands[LINK_COMMANDS_MAX + LINK_AGAIN_MAX];
};

static inline struct link *link_of(struct disk *disk)
{
	return container_of(disk, struct link, disk);
}

/* -- link_states.c ------------------------------------------------------------------------------------------------ */

/* link_handle() - go where @event leads, and on from there. */
void link_handle(struct link *link, enum link_event event);

/* link_doom() - the connection is of no more use. The first reason that says something is kept; NULL: none is known. */
void link_doom(struct link *link, const char *why);

/* No descriptor of the connection is watched. */
void link_unwatch(struct link *link);

/* Have link_on_timer() run in so many seconds. */
void link_wake(struct link *link, double seconds);

/* The connection's descriptors are closed, whichever state it was in. */
void link_hang_up(struct link *link);

void link_on_dial(struct ev_loop *ev, ev_io *watcher, int revents);
void link_on_timer(struct ev_loop *ev, ev_timer *watcher, int revents);
void link_on_socket(struct loop_source *source, int revents);
void link_on_turn(struct loop_turn *turn);

/* -- link_requests.c ---------------------------------------------------------------------------------------------- */

int link_submit(struct disk *disk, struct block_req *req);
bool link_recall(struct disk *disk, struct block_req *req);

/* The engine's owner. */
void link_on_answered(struct engine_owner *owner, struct command *command);
void link_on_lost(struct engine_owner *owner, const char *why);

/* link_send() - as much as may leave in this state, and as the engine takes. */
void link_send(struct link *link);

/* link_take_answers() - what was answered goes on, or ends: runs done(). */
void link_take_answers(struct link *link);

/* link_end_recalled() - the connection of requests that were recalled is lost: they are not sent again. */
void link_end_recalled(struct link *link);

/* -- link_renew.c ------------------------------------------------------------------------------------------------- */

/* link_start_flush() - a flush of ours goes first, unless one is running.
 * Returns false: not before another command has ended. */
bool link_start_flush(struct link *link);

/* link_next_of_draining() - what follows in DRAINING now that something has ended. */
enum link_event link_next_of_draining(struct link *link);

/* -- link_replay.c ------------------------------------------------------------------------------------------------ */

/* link_replay_admits() - whether there is room to keep the next command of this request, of @length bytes, which is reserved;
 * or it is none that is kept. link_replay_withdraw() - it is not sent after all. */
bool link_replay_admits(struct link *link, struct command *command, uint64_t length);
void link_replay_withdraw(struct link *link, struct command *command, uint64_t length);

/* link_replay_note() - @command was answered; before command_advance(). May change its status. */
void link_replay_note(struct link *link, struct command *command);

/* link_replay_makes_room() - begin a flush of ours. Returns whether a command for it is there to be sent. */
bool link_replay_makes_room(struct link *link);

/* link_replay_begin() - a new connection: does what is kept have to be sent again? link_replay_lose() - it is lost. */
void link_replay_begin(struct link *link);
void link_replay_lose(struct link *link);

/* link_replay_is_running() - nothing else is to be sent. link_replay_next() - the next command of it, in again.unsent; NULL: none
 * now; or it has ended, and is not running any more. */
bool link_replay_is_running(const struct link *link);
struct command *link_replay_next(struct link *link);

/* Whether @command is one of those. */
bool link_is_again(const struct link *link, const struct command *command);
