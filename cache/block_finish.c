/* cache/block_finish.c -- at once where the request is here, by mail where it is elsewhere. */
#include "cache/block_finish.h"

#include "cache/uring.h"
#include "conf/container.h"

static void on_home(struct mail *mail)
{
	struct block_req *req = container_of(mail, struct block_req, wait.mail);

	req->done(req, req->wait.status);
}

void block_finish_all(struct block_req *req, const struct uring *here, int status)
{
	struct block_req *next;

	for (; req; req = next) {
		next = req->wait.next;
		if (req->ring == here) {
			req->done(req, status);
			continue;
		}
		req->wait.status = status;
		req->wait.mail.read = on_home;
		uring_post(req->ring, &req->wait.mail);
	}
}
