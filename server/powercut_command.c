/* server/powercut_command.c -- from arguments to an order, and from a result to an answer. */
#include "server/powercut_command.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "conf/control_line.h"
#include "server/powercut.h"
#include "server/server.h"

struct asked {
	const char *export, *keep;
	uint64_t torn, seed;
	double down;
};

static const struct control_argument rows[] = {
	{ "export", CONTROL_TEXT, true, offsetof(struct asked, export) },
	{ "keep", CONTROL_TEXT, false, offsetof(struct asked, keep) },
	{ "torn", CONTROL_NUMBER, false, offsetof(struct asked, torn) },
	{ "seed", CONTROL_NUMBER, false, offsetof(struct asked, seed) },
	{ "down", CONTROL_SECONDS, false, offsetof(struct asked, down) },
	{ 0 },
};

enum { KEEPS = 3 };
static const char *const keeps[KEEPS] = {
	[SURVIVAL_NONE] = "none",
	[SURVIVAL_ALL] = "all",
	[SURVIVAL_RANDOM] = "random",
};

/* Returns whether there is one of that name. */
static bool keep_named(const char *name, enum survival_keep *keep)
{
	for (int i = 0; i < KEEPS; i++)
		if (strcmp(name, keeps[i]) == 0) {
			*keep = (enum survival_keep)i;
			return true;
		}
	return false;
}

/* One that a person can type again. */
static uint64_t any_seed(void)
{
	uint32_t drawn = 1;

	return getrandom(&drawn, sizeof(drawn), GRND_NONBLOCK) == sizeof(drawn) ? drawn : 1;
}

/* What is wrong with @asked; NULL: nothing, and @order is there. */
static const char *read_order(const struct asked *asked, struct powercut_order *order)
{
	if (!keep_named(asked->keep, &order->survival.keep))
		return "'keep' is none, all or random";
	if (asked->torn != 0 && asked->torn != 512 && asked->torn != 4096)
		return "'torn' is the size of a sector, 512 or 4096";
	if (asked->torn != 0 && order->survival.keep == SURVIVAL_NONE)
		return "'torn' is for writes that are kept: with keep all or random";
	if (asked->down > POWERCUT_DOWN_MOST_S)
		return "'down' is a day at most, in seconds";
	order->survival.sector = (uint32_t)asked->torn;
	order->survival.seed = asked->seed;
	order->down_s = asked->down;
	return NULL;
}

struct waiting {
	struct control_call *call;
	uint64_t seed;
	double down;
};

static void on_done(void *context, const struct powercut_result *result)
{
	struct waiting *waiting = context;
	char verifier[17];

	snprintf(verifier, sizeof(verifier), "%016" PRIx64, result->verifier);
	if (result->error)
		control_refuse(waiting->call, "the power cut failed: %s", strerror(-result->error));
	else
		control_answer(waiting->call,
			json_pack("{sIsIsIsIsssf}", "kept", (json_int_t)result->counts.kept, "lost",
				(json_int_t)result->counts.lost, "torn", (json_int_t)result->counts.torn,
				"seed", (json_int_t)waiting->seed, "verifier", verifier, "down",
				waiting->down));
	free(waiting);
}

static void powercut(void *context, struct control_call *call, const json_t *arguments)
{
	struct server *server = context;
	struct asked asked = { .keep = keeps[SURVIVAL_NONE], .seed = any_seed() };
	struct powercut_order order;
	struct waiting *waiting;
	struct export *export;
	char why[CONTROL_WHY_SIZE];
	const char *wrong;

	if (!control_take(call, arguments, rows, &asked))
		return;
	wrong = read_order(&asked, &order);
	if (wrong) {
		control_refuse(call, "%s", wrong);
		return;
	}
	export = exports_find(&server->exports, asked.export, strlen(asked.export));
	if (!export) {
		control_refuse(call, "no export of that name");
		return;
	}
	waiting = malloc(sizeof(*waiting));
	if (!waiting) {
		control_refuse(call, "out of memory");
		return;
	}
	*waiting = (struct waiting){ call, asked.seed, asked.down };
	if (powercut_start(&server->powercuts, export, &order, on_done, waiting, why, sizeof(why))) {
		control_refuse(call, "export '%s': %s", asked.export, why);
		free(waiting);
	}
}

const struct control_command powercut_commands[] = {
	{ "powercut", "EXPORT [KEEP] [TORN] [SEED] [DOWN]",
		"Cut the power of an export with a volatile cache.", powercut },
	{ 0 },
};
