/* client/engine.h -- what carries commands over one negotiated connection, and brings back their answers.
 *
 * Two engines behind one face. engine_socket.c drives the socket itself: all commands of a turn leave in one system call,
 * replies are received many at a time, and data goes between the socket and where it lies, in as many pieces as it
 * likes. engine_libnbd.c leaves all of that to libnbd, which costs several system calls a command, and can speak TLS.
 *
 * Everything here is for the thread of the owner's loop. Nothing blocks.
 */
#pragma once

#include <libnbd.h>
#include <stdbool.h>

#include "client/command.h"

struct engine;

/* Who gives the commands. Both may run inside any function below but engine_free(); neither may call one. */
struct engine_owner {
	/* @command->status is the server's answer: 0 or -errno. The engine has done with the command and its data. */
	void (*answered)(struct engine_owner *owner, struct command *command);
	/* The connection is of no more use: nothing is to follow but engine_free(). What is in flight stays unanswered.
	 * @why: for an operator, valid for this call; NULL: the server has closed it. */
	void (*lost)(struct engine_owner *owner, const char *why);
};

struct engine_ops {
	bool (*issue)(struct engine *engine, struct command *command);
	void (*flush)(struct engine *engine);
	void (*on_ready)(struct engine *engine, int revents);
	int (*events)(const struct engine *engine);
	void (*disconnect)(struct engine *engine);
	void (*free)(struct engine *engine);
};

struct engine {
	const struct engine_ops *ops;
	struct engine_owner *owner; /* borrowed: has the engine, and frees it first */
	int fd;			    /* owned: the engine's; for the owner to watch */
	bool scatters; /* commands may have data in several pieces; else command_prepare() has to make it one */
};

/* Commands are known by their place in this array, as long as the engine lives. */
struct command_pool {
	struct command *commands; /* borrowed: the owner's */
	unsigned count;		  /* up to ENGINE_COMMANDS_MAX */
};
#define ENGINE_COMMANDS_MAX 65536u

/* engine_new() - take over @nbd, whose handshake is done and which has no command in flight.
 *
 * The socket engine, unless the connection is encrypted, or the environment's VNBD_ENGINE is "libnbd".
 * @uri: borrowed: outlives the engine; for libnbd's errors, which must not show it.
 * Returns NULL where memory or descriptors are short: @nbd is the caller's as before. */
struct engine *engine_new(
	struct nbd_handle *nbd, const char *uri, struct command_pool pool, struct engine_owner *owner);

/* engine_issue() - have a command that command_prepare() has made ready carried out. Its data is the engine's until it
 * is answered or the engine is freed.
 * Returns false: there is no room until more has been sent: nothing has changed, and engine_events() has EV_WRITE. */
static inline bool engine_issue(struct engine *engine, struct command *command)
{
	return engine->ops->issue(engine, command);
}

/* engine_flush() - send what was issued, as far as the socket takes it; the rest follows when it is writable. */
static inline void engine_flush(struct engine *engine)
{
	engine->ops->flush(engine);
}

/* engine_on_ready() - @revents: what libev says of the socket. Takes a bounded number of replies. */
static inline void engine_on_ready(struct engine *engine, int revents)
{
	engine->ops->on_ready(engine, revents);
}

/* What the socket is to be watched for: EV_READ, EV_WRITE. */
static inline int engine_events(const struct engine *engine)
{
	return engine->ops->events(engine);
}

/* engine_disconnect() - say goodbye, if that can leave at once; nothing is in flight. A server then knows that nothing
 * went wrong. Nothing is to follow but engine_free(). */
static inline void engine_disconnect(struct engine *engine)
{
	engine->ops->disconnect(engine);
}

/* engine_free() - closes the connection; no data of commands is touched from now on. NULL is fine. */
static inline void engine_free(struct engine *engine)
{
	if (engine)
		engine->ops->free(engine);
}

/* engine.c's: each takes over @nbd, or returns NULL. */
struct engine *engine_libnbd_new(struct nbd_handle *nbd, const char *uri, struct engine_owner *owner);
struct engine *engine_socket_new(
	int fd, bool structured, struct command_pool pool, struct engine_owner *owner);
