/* tests/bench/vhost/mock.h -- vumock's parts: one thread, one front-end, a RAM disk or a plain bridge to NBD. */
#pragma once

#include <sys/uio.h>

#include "vu.h"

enum { MOCK_QUEUES = 4, MOCK_REGIONS = 8, MAXSEG = 1024 };

struct reg {
	uint64_t gpa, size, uaddr;
	uint8_t *map, *base;
	size_t mlen;
};

struct ring {
	uint32_t num;
	uint64_t d, a, u; /* the front-end's addresses */
	struct sdesc *desc;
	struct savail *avail;
	struct sused *used;
	uint16_t last, uidx, signalled, puse;
	bool aw, uw, on, enabled, broken;
	int kick, call;
};

extern struct reg regs[MOCK_REGIONS];
extern unsigned nregs;
extern struct ring rings[MOCK_QUEUES];
extern uint64_t features;
extern struct blkcfg cfg;
extern uint8_t *disk;			   /* the RAM disk */
extern int nbd;				   /* the NBD server's socket, or -1 */
extern unsigned long corrupt_every, reads; /* every so many reads are answered wrong; 0: none */

#define LD(x)	 __atomic_load_n(&(x), __ATOMIC_ACQUIRE)
#define ST(x, v) __atomic_store_n(&(x), (v), __ATOMIC_RELEASE)

static inline bool crossed(uint16_t event, uint16_t new, uint16_t old)
{
	return (uint16_t)(new - event - 1) < (uint16_t)(new - old);
}

void fatal(const char *what) __attribute__((noreturn)); /* with errno's text */

/* mock_memory.c */
void *at(uint64_t addr, uint64_t len, bool user, uint64_t align); /* NULL: not (wholly) in a region */
bool resolve(struct ring *r);
size_t copy(struct iovec *v, int n, size_t skip, uint8_t *buf, size_t len, bool to);
int set_mem(struct vmsg *m, int *fd, int nfd);

/* mock_ring.c */
void push(struct ring *r, uint16_t id, uint32_t length);
void notify(struct ring *r);
void run_ring(struct ring *r);

/* mock_nbd.c */
void nbd_connect(const char *where);
bool nbd_full(void);
bool nbd_busy(void);
void nbd_submit(struct ring *r, uint16_t id, uint32_t type, uint64_t off, size_t len, struct iovec *in,
	int nin, struct iovec *out, int nout);
void nbd_send(void);
void nbd_receive(void);

/* mock_messages.c */
bool front_end_message(int socket); /* one message and its reply; false: close the connection */
void front_end_gone(void);	    /* forgets memory, rings and what was agreed */
