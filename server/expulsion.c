/* server/expulsion.c -- a letter to every worker, and one back from each. */
#include "server/expulsion.h"

#include <errno.h>
#include <stdlib.h>

#include "conf/container.h"
#include "server/lineage.h"
#include "server/session.h"
#include "server/worker.h"

static void on_obeyed(struct mail *mail)
{
	struct notice *notice = container_of(mail, struct notice, obeyed);
	struct expulsion *expulsion = notice->expulsion;

	if (--expulsion->left == 0)
		expulsion->done(expulsion);
}

int expulsion_start(struct expulsion *expulsion, struct worker *workers, unsigned count)
{
	expulsion->notices = calloc(count, sizeof(expulsion->notices[0]));
	if (!expulsion->notices)
		return -ENOMEM;
	expulsion->left = count;
	for (unsigned i = 0; i < count; i++) {
		expulsion->notices[i] = (struct notice){
			.worker = &workers[i], .expulsion = expulsion, .obeyed.read = on_obeyed
		};
		worker_expel(&workers[i], &expulsion->notices[i]);
	}
	return 0;
}

bool expulsion_means(const struct expulsion *expulsion, const struct session *session)
{
	if (session_export(session) != expulsion->export)
		return false;
	return !expulsion->heir || lineage_follows(expulsion->heir, session_lineage(session));
}

void expulsion_fini(struct expulsion *expulsion)
{
	free(expulsion->notices);
	expulsion->notices = NULL;
}
