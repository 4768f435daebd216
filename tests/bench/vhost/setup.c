/* tests/bench/vhost/setup.c -- makes the device ready for the load that the options ask for, or ends the program. */
#include "load.h"

#include <sys/eventfd.h>

void device_open(void)
{
	device.want = F_VERSION_1 | F_SIZE_MAX | F_SEG_MAX | F_RO | F_BLK_SIZE | F_FLUSH | F_TOPOLOGY |
		      F_CONFIG_WCE | F_MQ | F_DISCARD | F_WRITE_ZEROES | F_INDIRECT * opt.indirect |
		      F_EVENT_IDX * opt.event_idx | F_PACKED * opt.packed | F_IN_ORDER * opt.in_order;
	if (opt.inflight)
		device.pwant |= PF_INFLIGHT;
	if (vu_connect(&device) || vu_negotiate(&device))
		die("%s: cannot negotiate: %s", device.path, strerror(errno));
}

static void check_features(void)
{
	uint32_t devq = device.features & F_MQ && device.cfg.num_queues ? device.cfg.num_queues : 1;

	if (!(device.features & F_VERSION_1) || (opt.packed && !(device.features & F_PACKED)) ||
		(opt.in_order && !(device.features & F_IN_ORDER)))
		die("a wanted feature is not offered (features 0x%llx)", (unsigned long long)device.offered);
	if (opt.inflight && !(device.pfeatures & PF_INFLIGHT))
		die("INFLIGHT_SHMFD is not offered");
	if (opt.nq > devq || (device.pfeatures & PF_MQ && opt.nq > device.max_queues))
		die("%u queues wanted, device has %u", opt.nq, devq);
	if (device.features & F_SEG_MAX && opt.nseg > device.cfg.seg_max)
		die("%u segments wanted, seg_max is %u", opt.nseg, device.cfg.seg_max);
}

static void set_write_cache(void)
{
	struct vconfig wc = { offsetof(struct blkcfg, wce), 1, 0, { (uint8_t)opt.wce } };

	if (!(device.features & F_CONFIG_WCE) || vu_set(&device, SET_CONFIG, &wc, 13, NULL, 0) ||
		vu_get_config(&device, 0, sizeof(device.cfg), &device.cfg) || device.cfg.wce != opt.wce)
		die("cannot set wce");
}

static void choose_blocks(void)
{
	uint64_t bytes = device.cfg.capacity * 512;

	if (opt.range && opt.range < bytes)
		bytes = opt.range;
	opt.nblocks = bytes / opt.bs;
	if (opt.nblocks < opt.nq)
		die("device or range too small");
	if (opt.verify) {
		gens = calloc(opt.nblocks, sizeof(*gens));
		busy = calloc(opt.nblocks, 1);
	}
}

static void choose_queue_size(void)
{
	unsigned stride = opt.indirect && device.features & F_INDIRECT ? 1 : opt.nseg + 2;

	if (!opt.qsize)
		for (opt.qsize = 128; opt.qsize < opt.qd * stride; opt.qsize *= 2)
			;
	if (opt.qsize < opt.qd * stride)
		die("queue size %u is too small for qd %u x %u descriptors", opt.qsize, opt.qd, stride);
}

static void share_memory(void)
{
	size_t slots = (size_t)opt.nq * opt.qd,
	       seg = ((size_t)opt.bs / opt.nseg + 512 + 4095) / 4096 * 4096 + 4096;
	size_t per = slots * (opt.nseg * seg + 4096) / opt.nreg + seg * opt.nseg +
		     slots * (256 + 16 * (opt.nseg + 2)) + opt.nq * (32ul * opt.qsize + 32768);

	device.nq = opt.nq;
	device.q = calloc(opt.nq, sizeof(*device.q));
	if (vu_mem_create(&device, per * opt.nreg, opt.nreg) || vu_send_mem(&device) ||
		(device.pfeatures & PF_INFLIGHT && vu_inflight(&device, (uint16_t)opt.qsize)))
		die("cannot share memory");
}

void device_configure(void)
{
	check_features();
	if (opt.wce >= 0)
		set_write_cache();
	choose_blocks();
	choose_queue_size();
	share_memory();
}

static void workers_init(struct worker *w, unsigned workers, struct qctx *queues)
{
	for (unsigned i = 0; i < workers; i++) {
		w[i].call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		w[i].n = opt.nq / workers;
		w[i].c = queues + i * w[i].n;
		w[i].budget = opt.prefill ? opt.nblocks : opt.ops ? opt.ops / workers : ~0ull;
		w[i].tmp = malloc(opt.bs);
		w[i].exp = malloc(opt.bs);
	}
}

static void queue_init(struct qctx *c, unsigned i, int call)
{
	c->q = &device.q[i];
	c->rng = opt.seed * 0x9e3779b97f4a7c15ull + (i + 1) * 0xbf58476d1ce4e5b9ull;
	c->lo = opt.rnd ? 0 : opt.nblocks * i / opt.nq;
	c->hi = opt.rnd ? opt.nblocks : opt.nblocks * (i + 1) / opt.nq;
	c->pos = c->lo;
	if (vq_init(&device, c->q, i, opt.qsize, opt.qd, opt.nseg + 2, opt.indirect, call))
		die("queue %u: no memory", i);
	slots_init(c);
	if (vu_start_queue(&device, c->q, c->q->packed ? 0x80008000u : 0))
		die("queue %u: the back-end refused the set-up", i);
}

void queues_start(struct worker *workers, unsigned count, struct qctx *queues)
{
	workers_init(workers, count, queues);
	for (unsigned i = 0; i < opt.nq; i++)
		queue_init(&queues[i], i, workers[opt.one_thread ? 0 : i].call);
}

void queues_end(struct worker *workers, unsigned count, struct qctx *queues)
{
	for (unsigned i = 0; i < opt.nq; i++)
		slots_free(&queues[i]);
	for (unsigned i = 0; i < count; i++) {
		close(workers[i].call);
		free(workers[i].tmp);
		free(workers[i].exp);
	}
}
