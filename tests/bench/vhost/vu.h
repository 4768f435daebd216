/* tests/bench/vhost/vu.h -- the driver side of vhost-user-blk, written from the specifications alone and sharing no line with
 * virtio/, so that one checks the other. Spec: vhost-user.rst; VIRTIO 1.2, 2.7 and 2.8 (virtqueues), 5.2 (block). */
#pragma once

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* vhost-user front-end requests */
enum {
	GET_FEATURES = 1,
	SET_FEATURES,
	SET_OWNER,
	RESET_OWNER,
	SET_MEM_TABLE,
	SET_LOG_BASE,
	SET_LOG_FD,
	SET_VRING_NUM,
	SET_VRING_ADDR,
	SET_VRING_BASE,
	GET_VRING_BASE,
	SET_VRING_KICK,
	SET_VRING_CALL,
	SET_VRING_ERR,
	GET_PROTOCOL_FEATURES,
	SET_PROTOCOL_FEATURES,
	GET_QUEUE_NUM,
	SET_VRING_ENABLE,
	GET_CONFIG = 24,
	SET_CONFIG,
	GET_INFLIGHT_FD = 31,
	SET_INFLIGHT_FD,
	GET_MAX_MEM_SLOTS = 36,
	ADD_MEM_REG,
	REM_MEM_REG,
};
#define MSG_VERSION    1u
#define MSG_REPLY      4u
#define MSG_NEED_REPLY 8u
#define VRING_NOFD     0x100u

#define BIT(n)	     (1ull << (n))
#define PF_MQ	     BIT(0)
#define PF_REPLY_ACK BIT(3)
#define PF_CONFIG    BIT(9)
#define PF_INFLIGHT  BIT(12)
#define PF_MEM_SLOTS BIT(15)

#define F_SIZE_MAX     BIT(1)
#define F_SEG_MAX      BIT(2)
#define F_RO	       BIT(5)
#define F_BLK_SIZE     BIT(6)
#define F_FLUSH	       BIT(9)
#define F_TOPOLOGY     BIT(10)
#define F_CONFIG_WCE   BIT(11)
#define F_MQ	       BIT(12)
#define F_DISCARD      BIT(13)
#define F_WRITE_ZEROES BIT(14)
#define F_INDIRECT     BIT(28)
#define F_EVENT_IDX    BIT(29)
#define F_PROTOCOL     BIT(30)
#define F_VERSION_1    BIT(32)
#define F_PACKED       BIT(34)
#define F_IN_ORDER     BIT(35)

enum { T_IN = 0, T_OUT = 1, T_FLUSH = 4, T_GET_ID = 8, T_DISCARD = 11, T_WRITE_ZEROES = 13 };
enum { S_OK, S_IOERR, S_UNSUPP };

struct vmsg {
	uint32_t request, flags, size;
	uint8_t payload[1024];
};
#define VMSG_HDR 12u

struct vstate {
	uint32_t index, num;
};
struct vaddr {
	uint32_t index, flags;
	uint64_t desc, used, avail, log;
};
struct vregion {
	uint64_t gpa, size, uaddr, off;
};
struct vmemtab {
	uint32_t n, pad;
	struct vregion r[8];
};
struct vconfig {
	uint32_t off, size, flags;
	uint8_t data[256];
};
struct vinflight {
	uint64_t size, off;
	uint16_t nq, qsize;
};

struct blkcfg { /* struct virtio_blk_config up to write_zeroes */
	uint64_t capacity;
	uint32_t size_max, seg_max;
	uint8_t geometry[4];
	uint32_t blk_size;
	uint8_t phys_exp, align_off;
	uint16_t min_io;
	uint32_t opt_io;
	uint8_t wce, unused0;
	uint16_t num_queues;
	uint32_t max_discard, max_discard_seg, discard_align, max_wz, max_wz_seg;
	uint8_t wz_may_unmap, unused1[3];
} __attribute__((packed));

struct blkhdr {
	uint32_t type, reserved;
	uint64_t sector;
};
struct dwz {
	uint64_t sector;
	uint32_t num, flags;
};

/* rings */
#define D_NEXT	   1
#define D_WRITE	   2
#define D_INDIRECT 4
#define D_AVAIL	   0x80
#define D_USED	   0x8000
struct sdesc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};
struct savail {
	uint16_t flags, idx, ring[];
};
struct usedel {
	uint32_t id, len;
};
struct sused {
	uint16_t flags, idx;
	struct usedel ring[];
};
struct pdesc {
	uint64_t addr;
	uint32_t len;
	uint16_t id, flags;
};
struct pevent {
	uint16_t off_wrap, flags;
};

struct seg {
	uint64_t gpa;
	uint32_t len;
	bool w;
};

struct vq {
	unsigned index, size, stride; /* stride: split descriptors owned by one slot */
	bool packed, event_idx, indirect, in_order;
	union {
		struct sdesc *desc;
		struct pdesc *pdesc;
	};
	union {
		struct savail *avail;
		struct pevent *drv;
	};
	union {
		struct sused *used;
		struct pevent *dev;
	};
	uint16_t avail_idx, last_used, kicked; /* split */
	uint16_t next_avail, next_used, added; /* packed */
	bool avail_wrap, used_wrap;
	uint16_t *count; /* packed: descriptors per buffer id */
	uint16_t *turns; /* in order: the slots that are out */
	uint16_t turn_add, turn_get;
	uint8_t **itab; /* indirect table per slot */
	int kick, call, err;
	_Atomic uint64_t kicks; /* shared: its worker counts, the main thread reads */
};

struct mem {
	int fd;
	uint8_t *base;
	size_t fsize, rsize, next[8];
	unsigned nreg;
};
#define GUARD 65536u

struct vu {
	const char *path;
	int fd, timeout_ms;
	uint64_t offered, features, poffered, pfeatures, want, pwant;
	struct blkcfg cfg;
	uint32_t max_queues;
	unsigned nq;
	struct vq *q;
	struct mem m;
	int inflight_fd;
	struct vinflight inflight;
	bool reply_ack;
};

/* vu.c */
uint64_t now_ns(void);
void die(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));
int vu_connect(struct vu *v);
int vu_send(
	struct vu *v, uint32_t req, uint32_t flags, const void *p, uint32_t size, const int *fds, int nfds);
int vu_recv(struct vu *v, struct vmsg *m, int *fd);
int vu_set(struct vu *v, uint32_t req, const void *p, uint32_t size, const int *fds, int nfds);
int vu_get(struct vu *v, uint32_t req, const void *p, uint32_t size, struct vmsg *reply, int *fd);
int vu_get_u64(struct vu *v, uint32_t req, uint64_t *out);
int vu_negotiate(struct vu *v);
int vu_get_config(struct vu *v, uint32_t off, uint32_t size, void *out);
int vu_mem_create(struct vu *v, size_t bytes, unsigned nreg);
int vu_send_mem(struct vu *v);
int vu_start_queue(struct vu *v, struct vq *q, uint32_t base);
int vu_inflight(struct vu *v, uint16_t qsize);
void vu_close(struct vu *v, bool free_mem);
void vu_print_info(struct vu *v);
void *mem_alloc(struct mem *m, unsigned region, size_t size, size_t align);
uint64_t mem_gpa(const struct mem *m, const void *p);
uint64_t region_gpa(const struct mem *m, unsigned i);
size_t region_off(const struct mem *m, unsigned i);
/* ring.c */
int vq_init(struct vu *v, struct vq *q, unsigned index, unsigned size, unsigned nslots, unsigned maxseg,
	bool indirect, int shared_call);
void vq_free(struct vq *q);
void vq_add(struct vu *v, struct vq *q, const struct seg *s, unsigned n, uint16_t slot);
bool vq_kick(struct vq *q, bool force);
int vq_get(struct vq *q, uint32_t *len);
bool vq_arm(struct vq *q);
void vq_disarm(struct vq *q);
