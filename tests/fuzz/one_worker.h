/* tests/fuzz/one_worker.h -- a server's worker on the fuzzer's own thread, with one export of memory, whose requests may
 * end late. */
#pragma once

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cache/disk_memory.h"
#include "conf/log.h"
#include "server/admission.h"
#include "server/limits.h"
#include "server/session.h"
#include "server/worker.h"
#include "tests/fuzz/late_disk.h"

struct one_worker {
	struct worker worker;
	struct export export;
	struct late_disk disk;
	struct admission admission;
	struct budget budget;
};

static inline void require(bool holds)
{
	if (!holds)
		abort();
}

/* @size: of the export, which has no name, bytes. */
static inline void one_worker_begin(struct one_worker *one, uint64_t size)
{
	struct disk *memory;

	log_open("fuzz", LOG_ERROR);
	admission_init(&one->admission, 1, 1);
	budget_init(&one->budget, MEMORY_LEAST);
	worker_prepare(&one->worker, &one->budget);
	one->export.spec.name = (char *)"";
	fault_set_init(&one->export.faults, "");
	require(disk_memory_open(size, &memory) == 0 && uring_init(&one->worker.ring) == 0 &&
		receive_pool_init(&one->worker.receives, &one->worker.ring) == 0);
	late_disk_init(&one->disk, memory);
	one->export.disk = &one->disk.disk;
	buffer_pool_init(&one->worker.buffers, 0);
	request_pool_init(&one->worker.requests, 0);
	one->worker.retiring = true;
}

/* The place of the one connection there may be. */
static inline struct origin *one_worker_admit(struct one_worker *one)
{
	enum close_reason why;
	struct origin *origin;

	require(admission_enter(&one->admission, &(struct peer){ 0 }, &origin, &why));
	return origin;
}

/* Returns when @session has ended. */
static inline void one_worker_serve(struct one_worker *one, struct session *session)
{
	one->worker.ring.stopping = false;
	session_hand_over(session, &one->worker);
	uring_run(&one->worker.ring);
}

/* Until the client of a session that was served has ended. The kernel may need the ring's thread to let go of the socket, for
 * which a worker that goes on waits anyway. */
static inline void one_worker_join(struct one_worker *one, pthread_t client)
{
	while (pthread_tryjoin_np(client, NULL)) {
		io_uring_get_events(&one->worker.ring.ring);
		sched_yield();
	}
}

static inline void one_worker_is_idle(const struct one_worker *one)
{
	require(!one->worker.sessions && atomic_load(&one->worker.load) == 0 &&
		atomic_load(&one->admission.connections) == 0);
}
