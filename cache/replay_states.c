/* cache/replay_states.c -- the base, what is settled, and what is chosen. */
#include "cache/replay_states.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/block.h"
#include "cache/image.h"
#include "conf/log.h"

static int tell(const char *path, int error)
{
	if (error)
		log_error("%s: %s", path, strerror(-error));
	return error ? -1 : 0;
}

static int copy_base(const struct replay_states *states)
{
	const char *path = states->replay->base;
	uint64_t wanted = states->history->reader.header.disk_size;
	int fd = open(path, O_RDONLY | O_CLOEXEC), error;
	off_t size = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);

	if (size < 0) {
		tell(path, -errno);
	} else if ((uint64_t)size != wanted) {
		log_error("%s: has %jd bytes, and the disk had %" PRIu64 " when the recording began", path,
			(intmax_t)size, wanted);
		size = -1;
	} else {
		error = image_copy(fd, wanted, states->settled, states->history->disk_size);
		size = tell(path, error);
	}
	if (fd >= 0)
		close(fd);
	return size < 0 ? -1 : 0;
}

static int prepare_settled(const struct replay_states *states)
{
	if (states->replay->base)
		return copy_base(states);
	return tell(states->replay->output,
		ftruncate(states->settled, (off_t)states->history->disk_size) < 0 ? -errno : 0);
}

/* A file in the folder of @path that has no name for long. */
static int open_unnamed(const char *path)
{
	char *name;
	int fd;

	if (asprintf(&name, "%s.XXXXXX", path) < 0)
		return -1;
	fd = mkstemp(name);
	if (fd >= 0)
		unlink(name);
	free(name);
	return fd;
}

/* Whether the open files @one and @other are the same. */
static bool is_same(int one, int other)
{
	struct stat a, b;

	return fstat(one, &a) == 0 && fstat(other, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* Not to be written over what it is made of. */
static int check_output(const struct replay_states *states)
{
	const struct replay *replay = states->replay;
	int base = replay->base ? open(replay->base, O_RDONLY | O_CLOEXEC) : -1;
	bool over_base = base >= 0 && is_same(states->output, base);
	bool over_record = is_same(states->output, states->history->reader.fd);

	if (base >= 0)
		close(base);
	if (over_base || over_record)
		log_error("%s: is the %s, which would be overwritten", replay->output,
			over_base ? "base" : "record");
	return over_base || over_record ? -1 : 0;
}

int replay_states_init(
	struct replay_states *states, const struct replay *replay, const struct history *history)
{
	*states = (struct replay_states){ .replay = replay, .history = history, .settled = -1 };
	crash_init(&states->crash, history);
	states->output = open(replay->output, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	if (states->output >= 0)
		states->settled = open_unnamed(replay->output);
	if (states->settled < 0)
		tell(replay->output, -errno);
	if (states->settled >= 0 && check_output(states) == 0 && prepare_settled(states) == 0)
		return 0;
	replay_states_fini(states);
	return -1;
}

void replay_states_fini(struct replay_states *states)
{
	crash_fini(&states->crash);
	if (states->output >= 0)
		close(states->output);
	if (states->settled >= 0)
		close(states->settled);
}

/* Puts @length bytes of the disk at @offset, which are part of @request, into the file @fd. */
static int put(const struct replay_states *states, int fd, const struct history_request *request,
	uint64_t offset, uint64_t length)
{
	if (request->op != BLOCK_WRITE)
		return image_zero(fd, offset, length);
	return image_fill(fd, offset, length, states->history->reader.fd,
		request->data_at + (offset - request->offset));
}

static int settle(void *context, const struct history_request *request)
{
	const struct replay_states *states = context;

	return put(states, states->settled, request, request->offset, request->length);
}

static int apply(void *context, const struct history_request *request, uint64_t offset, uint64_t length)
{
	const struct replay_states *states = context;

	return put(states, states->output, request, offset, length);
}

int replay_states_move(struct replay_states *states, uint64_t at)
{
	return tell(states->replay->output,
		crash_move(&states->crash, at, states->replay->choice.tear_size, settle, states));
}

int replay_states_make(struct replay_states *states, const struct crash_choice *choice)
{
	uint64_t size = states->history->disk_size;
	int error = image_copy(states->settled, size, states->output, size);

	if (!error)
		error = crash_choose(&states->crash, choice, apply, states);
	return tell(states->replay->output, error);
}
