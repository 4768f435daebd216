/* server/survey.c -- a letter to each worker, and back. */
#include "server/survey.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "conf/container.h"
#include "server/session.h"
#include "server/worker.h"

struct part {
	struct mail mail;
	struct survey *survey;	      /* borrowed: waits for its parts */
	struct worker *worker;	      /* borrowed: reads what was posted to it */
	struct survey_entry *entries; /* owned; NULL: out of memory */
	size_t count;
};

struct survey {
	struct mailbox *home; /* borrowed: the main thread's */
	void (*found)(void *context, const struct survey_entry *entries, size_t count);
	void (*done)(void *context);
	void *context;
	unsigned missing; /* parts */
	struct part parts[];
};

static void free_entries(struct part *part)
{
	for (size_t i = 0; i < part->count; i++)
		free(part->entries[i].export);
	free(part->entries);
}

/* On the main thread. */
static void on_answer(struct mail *mail)
{
	struct part *part = container_of(mail, struct part, mail);
	struct survey *survey = part->survey;

	survey->found(survey->context, part->entries, part->count);
	free_entries(part);
	if (--survey->missing > 0)
		return;
	survey->done(survey->context);
	free(survey);
}

static size_t count_sessions(const struct worker *worker)
{
	size_t count = 0;

	for (const struct session *session = worker->sessions; session; session = session_next(session))
		count++;
	return count;
}

/* On the worker's thread. */
static void on_question(struct mail *mail)
{
	struct part *part = container_of(mail, struct part, mail);

	/* One more, so that no session is not the same as no memory. */
	part->entries = calloc(count_sessions(part->worker) + 1, sizeof(part->entries[0]));
	for (const struct session *session = part->worker->sessions; session && part->entries;
		session = session_next(session)) {
		struct survey_entry *entry = &part->entries[part->count];

		if (session_describe(session, entry))
			part->count++;
	}
	mail->read = on_answer;
	mailbox_post(part->survey->home, mail);
}

int survey_start(struct worker *workers, unsigned count, struct mailbox *home,
	void (*found)(void *context, const struct survey_entry *entries, size_t count),
	void (*done)(void *context), void *context)
{
	struct survey *survey = calloc(1, sizeof(*survey) + count * sizeof(survey->parts[0]));

	assert(count > 0);
	if (!survey)
		return -ENOMEM;
	*survey = (struct survey){
		.home = home, .found = found, .done = done, .context = context, .missing = count
	};
	for (unsigned i = 0; i < count; i++) {
		survey->parts[i] =
			(struct part){ .mail.read = on_question, .survey = survey, .worker = &workers[i] };
		uring_post(&workers[i].ring, &survey->parts[i].mail);
	}
	return 0;
}
