/* server/session_memory.c -- how much of the server's memory a session may hold: S5. */
#include "server/session_parts.h"

#include "conf/container.h"

/* How much of the server's memory @bytes need. */
static size_t credit_for(size_t bytes)
{
	size_t beyond = bytes > CONNECTION_RESERVE ? bytes - CONNECTION_RESERVE : 0;

	return (beyond + MEMORY_STEP - 1) / MEMORY_STEP * MEMORY_STEP;
}

bool session_has_memory(struct session *session, size_t bytes)
{
	size_t needed = credit_for(bytes);

	if (needed <= session->credit)
		return true;
	if (session->claiming)
		return false;
	worker_watch(session->worker);
	if (!budget_take(session->worker->budget, &session->claim, needed - session->credit)) {
		session->claiming = true;
		return false;
	}
	session->credit = needed;
	return true;
}

static void on_granted(struct mail *mail)
{
	struct session *session = container_of(mail, struct session, claim.granted);

	session->claiming = false;
	session->credit += session->claim.bytes;
	session_wake(session);
}

void session_withdraw_claim(struct session *session)
{
	if (session->claiming && budget_withdraw(session->worker->budget, &session->claim))
		session->claiming = false;
}

void session_return_credit(struct session *session)
{
	size_t needed = credit_for(session->bytes);

	if (session->credit <= needed)
		return;
	budget_give(session->worker->budget, session->credit - needed);
	session->credit = needed;
}

void session_memory_init(struct session *session)
{
	session->claim.granted.read = on_granted;
}
