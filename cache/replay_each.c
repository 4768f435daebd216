/* cache/replay_each.c -- vnbd-replay image and each: one state, or a program run on hundreds of them. */
#include <errno.h>
#include <inttypes.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cache/draw.h"
#include "cache/replay_states.h"
#include "conf/log.h"

/* Of what a program says that fails, the end. */
enum { OUTPUT_SHOWN = 8 << 10 };

/* Seconds between two lines that tell how far it is, where they are not rewritten. */
enum { PROGRESS_S = 10 };

int replay_image(const struct replay *replay, struct history *history)
{
	struct replay_states states;
	uint64_t at, count;
	int error;

	if (replay_moment(&replay->at, history, &at) || replay_states_init(&states, replay, history))
		return REPLAY_FAILED;
	error = replay_states_move(&states, at);
	count = crash_states(&states.crash);
	if (!error && replay->choice.kind == CRASH_ENUMERATED && replay->choice.number >= count) {
		if (count)
			log_error("there are states 0 to %" PRIu64, count - 1);
		else
			log_error("there are too many states to number them; seed:N draws one");
		error = -1;
	}
	if (!error)
		error = replay_states_make(&states, &replay->choice);
	replay_states_fini(&states);
	return error ? REPLAY_FAILED : REPLAY_OK;
}

/* One state to be checked. */
struct point {
	uint64_t at, seed;
};

struct run {
	const struct replay *replay;
	struct replay_states states;
	struct point *points; /* owned */
	char **arguments;     /* owned, and the last one before NULL is the output */
	uint64_t done, failed;
	struct point first_failed;
	time_t told; /* the second of the last line */
};

static int by_moment(const void *one, const void *other)
{
	const struct point *a = one, *b = other;

	if (a->at != b->at)
		return a->at < b->at ? -1 : 1;
	return a->seed < b->seed ? -1 : a->seed > b->seed;
}

static int draw_points(struct run *run, const struct history *history)
{
	const struct replay *replay = run->replay;
	uint64_t first = 0, last = history->entries;

	if (replay->at.given && replay_moment(&replay->at, history, &last))
		return -1;
	if (replay->at.given)
		first = last;
	else if (replay->from.given && replay_moment(&replay->from, history, &first))
		return -1;
	run->points = calloc(replay->count, sizeof(*run->points));
	if (!run->points)
		return -1;
	for (uint64_t i = 0; i < replay->count; i++) {
		struct draw draw;

		draw_init(&draw, ~(replay->seed + i));
		run->points[i].seed = replay->seed + i;
		run->points[i].at = first + draw_below(&draw, last - first + 1);
	}
	qsort(run->points, replay->count, sizeof(*run->points), by_moment);
	return 0;
}

static int make_arguments(struct run *run)
{
	const struct replay *replay = run->replay;
	unsigned count = replay->program_count;

	run->arguments = calloc(count + 2, sizeof(*run->arguments));
	if (!run->arguments)
		return -1;
	memcpy(run->arguments, replay->program, count * sizeof(*run->arguments));
	run->arguments[count] = (char *)replay->output;
	return 0;
}

static void set_number(const char *name, uint64_t number)
{
	char text[32];

	snprintf(text, sizeof(text), "%" PRIu64, number);
	setenv(name, text, 1);
}

/* Returns the program's status as wait(2) has it, or -1: it could not be started, and the log tells why. */
static int run_program(const struct run *run, int said)
{
	posix_spawn_file_actions_t actions;
	pid_t pid;
	int error, status = -1;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, said, STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(&actions, said, STDERR_FILENO);
	error = posix_spawnp(&pid, run->arguments[0], &actions, NULL, run->arguments, environ);
	posix_spawn_file_actions_destroy(&actions);
	if (error) {
		log_error("%s: %s", run->arguments[0], strerror(error));
		return -1;
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return status;
}

static void show_output(int said)
{
	static char text[OUTPUT_SHOWN];
	off_t size = lseek(said, 0, SEEK_END);
	off_t start = size > OUTPUT_SHOWN ? size - OUTPUT_SHOWN : 0;
	ssize_t length = pread(said, text, sizeof(text), start);

	if (length > 0)
		fwrite(text, 1, (size_t)length, stdout);
}

static void tell_failure(const struct run *run, const struct point *point, int status, int said)
{
	printf("\nstate %" PRIu64 " of %" PRIu64 ": %s %s %d at --at entry:%" PRIu64 " --crash seed:%" PRIu64
	       "%s\n",
		run->done + 1, run->replay->count, run->arguments[0],
		WIFSIGNALED(status) ? "was killed by signal" : "ended with",
		WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), point->at, point->seed,
		run->replay->choice.tear_size == 512	? " --torn 512"
		: run->replay->choice.tear_size == 4096 ? " --torn 4096"
							: "");
	show_output(said);
	fflush(stdout);
}

/* Returns 0: it passed; 1: it failed; -1: it could not be checked, and the log tells why. */
static int check_state(struct run *run, const struct point *point)
{
	struct crash_choice choice = run->replay->choice;
	int said, status;

	choice.kind = CRASH_SEED;
	choice.number = point->seed;
	if (replay_states_move(&run->states, point->at) || replay_states_make(&run->states, &choice))
		return -1;
	said = memfd_create("output", MFD_CLOEXEC);
	if (said < 0) {
		log_error("memfd_create: %s", strerror(errno));
		return -1;
	}
	set_number("VNBD_STATE", run->done + 1);
	set_number("VNBD_ENTRY", point->at);
	set_number("VNBD_SEED", point->seed);
	status = run_program(run, said);
	if (status > 0)
		tell_failure(run, point, status, said);
	close(said);
	return status < 0 ? -1 : status != 0;
}

static void tell_progress(struct run *run)
{
	time_t now = time(NULL);
	bool terminal = isatty(STDERR_FILENO);

	if (now - run->told < (terminal ? 1 : PROGRESS_S))
		return;
	run->told = now;
	fprintf(stderr, "%s%" PRIu64 " of %" PRIu64 " states checked, %" PRIu64 " failed%s",
		terminal ? "\r" : "", run->done, run->replay->count, run->failed, terminal ? "" : "\n");
}

/* Returns 0, or -1: one could not be checked. */
static int check_states(struct run *run)
{
	for (; run->done < run->replay->count; run->done++) {
		int failed = check_state(run, &run->points[run->done]);

		if (failed < 0)
			return -1;
		if (failed && run->failed++ == 0)
			run->first_failed = run->points[run->done];
		if (failed && !run->replay->keep_going)
			run->done++;
		if (failed && !run->replay->keep_going)
			break;
		tell_progress(run);
	}
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\r\033[K");
	return 0;
}

static void tell_result(const struct run *run)
{
	printf("states checked  %" PRIu64 "\n", run->done);
	printf("moments         entry %" PRIu64 " to %" PRIu64 " of %" PRIu64 "\n", run->points[0].at,
		run->points[run->done - 1].at, run->states.history->entries);
	printf("passed          %" PRIu64 "\n", run->done - run->failed);
	printf("failed          %" PRIu64 "\n", run->failed);
	if (run->failed)
		printf("first failed    --at entry:%" PRIu64 " --crash seed:%" PRIu64 "\n",
			run->first_failed.at, run->first_failed.seed);
}

int replay_each(const struct replay *replay, struct history *history)
{
	struct run run = { .replay = replay, .told = time(NULL) };
	int status = REPLAY_FAILED;

	if (draw_points(&run, history) == 0 && make_arguments(&run) == 0 &&
		replay_states_init(&run.states, replay, history) == 0) {
		if (check_states(&run) == 0) {
			tell_result(&run);
			status = run.failed ? REPLAY_FOUND : REPLAY_OK;
		}
		replay_states_fini(&run.states);
	}
	free(run.points);
	free(run.arguments);
	return status;
}
