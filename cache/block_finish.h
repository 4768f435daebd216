/* cache/block_finish.h -- ends requests of several threads that one operation has answered, each on its own thread. */
#pragma once

#include "cache/block.h"

/* block_finish_all() - complete @req and those behind it in wait.next with @status, 0 or -errno.
 * @here: the ring of the calling thread, whose requests end inside this call; the others get mail. Uses wait. */
void block_finish_all(struct block_req *req, const struct uring *here, int status);
