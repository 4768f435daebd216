/* tests/bench/vhost/run.c -- runs the workers through warm-up, measurement and stop, and reports. */
#include "load.h"

#include <poll.h>
#include <time.h>

struct snap {
	uint64_t t, self, pid[BACKENDS_MAX], kicks;
	double busy;
};
struct sums {
	struct latency data, flush;
	uint64_t ops[2], flushes, calls, errors, mismatches, badlen, verified;
};

static uint64_t proc_cpu_ns(int pid)
{
	clockid_t clk;
	struct timespec t;
	if (clock_getcpuclockid(pid, &clk) || clock_gettime(clk, &t))
		return 0;
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static double busy_secs(void) /* all CPUs, tick resolution */
{
	unsigned long long x[8] = { 0 };
	FILE *f = fopen("/proc/stat", "r");
	if (f && fscanf(f, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", x, x + 1, x + 2, x + 3, x + 4,
			 x + 5, x + 6, x + 7) != 8)
		x[0] = 0;
	if (f)
		fclose(f);
	return (double)(x[0] + x[1] + x[2] + x[5] + x[6] + x[7]) / (double)sysconf(_SC_CLK_TCK);
}

static struct snap snapshot(void)
{
	struct snap s = { .t = now_ns(), .self = proc_cpu_ns(getpid()), .busy = busy_secs() };

	for (int i = 0; i < opt.backends; i++)
		s.pid[i] = proc_cpu_ns(opt.backend[i]);
	for (unsigned i = 0; i < opt.nq; i++)
		s.kicks += atomic_load_explicit(&device.q[i].kicks, memory_order_relaxed);
	return s;
}

static void check_alive(uint64_t now, uint64_t done)
{
	static uint64_t last, last_time;
	struct pollfd pf = { device.fd, POLLIN, 0 };
	bool gone = poll(&pf, 1, 0) > 0 && pf.revents & POLLHUP;

	if (done != last || !last_time) {
		last = done;
		last_time = now;
	}
	if (!gone && now - last_time <= (uint64_t)device.timeout_ms * 1000000ull)
		return;
	printf("{\"error\":\"%s\",\"done\":%llu}\n", gone ? "back-end closed the connection" : "stalled",
		(unsigned long long)done);
	exit(3);
}

/* Waits for the workers to end and moves the phase on by the clock; @a and @b are taken at the ends of the measured time. */
static void watch(const struct worker *w, unsigned workers, struct snap *a, struct snap *b)
{
	bool by_time = !opt.ops && !opt.prefill;
	uint64_t start = now_ns();
	unsigned alive;

	*a = snapshot();
	do {
		uint64_t t = now_ns(), sum = 0;
		double el = (double)(t - start) / 1e9,
		       next = phase == PHASE_WARM_UP ? opt.warmup : opt.warmup + opt.secs;

		alive = 0;
		for (unsigned i = 0; i < workers; i++) {
			sum += w[i].progress;
			alive += !w[i].done;
		}
		check_alive(t, sum);
		if (phase == PHASE_WARM_UP && el >= opt.warmup) {
			*a = snapshot();
			phase = PHASE_MEASURED;
		} else if (phase == PHASE_MEASURED && by_time && el >= opt.warmup + opt.secs) {
			phase = PHASE_STOPPING;
			*b = snapshot();
		}
		double nap = phase == PHASE_STOPPING || !by_time ? 0.002 : next - el;
		usleep(nap > 0.05 ? 50000 : nap > 0 ? (unsigned)(nap * 1e6) + 1 : 100);
	} while (alive);
	if (phase != PHASE_STOPPING)
		*b = snapshot();
}

static void add_up(struct sums *sums, const struct worker *w, unsigned workers, const struct qctx *queues)
{
	for (unsigned i = 0; i < workers; i++) {
		sums->calls += w[i].calls;
		sums->errors += w[i].errors;
		sums->mismatches += w[i].mismatches;
		sums->badlen += w[i].badlen;
		sums->verified += w[i].verified;
	}
	for (unsigned i = 0; i < opt.nq; i++) {
		sums->flushes += queues[i].flushes;
		for (unsigned k = 0; k < 2; k++)
			sums->ops[k] += queues[i].ops[k];
		latency_merge(&sums->data, &queues[i].data);
		latency_merge(&sums->flush, &queues[i].flush);
	}
}

static void print_json(
	const struct sums *s, double sec, double n, const char *cpu, double self, double kicks, double other)
{
	printf("{\"pattern\":\"%s\",\"bs\":%u,\"qd\":%u,\"queues\":%u,\"segs\":%u,\"secs\":%.3f,\"reads\":%"
	       "llu,\"writes\":%llu,\"flushes\":%llu,",
		opt.pattern, opt.bs, opt.qd, opt.nq, opt.nseg, sec, (unsigned long long)s->ops[0],
		(unsigned long long)s->ops[1], (unsigned long long)s->flushes);
	printf("\"iops\":%.1f,\"mibs\":%.2f,\"p50_us\":%.2f,\"p99_us\":%.2f,\"p999_us\":%.2f,\"flush_p50_"
	       "us\":%.2f,\"flush_p99_us\":%.2f,",
		n / sec, n * opt.bs / sec / 1048576, latency_us(&s->data, 0.5), latency_us(&s->data, 0.99),
		latency_us(&s->data, 0.999), latency_us(&s->flush, 0.5), latency_us(&s->flush, 0.99));
	printf("\"errors\":%llu,\"mismatches\":%llu,\"verified\":%llu,\"bad_used_len\":%llu,\"backend_cpu_us_"
	       "op\":[%s],\"self_cpu_us_op\":%.3f,"
	       "\"kicks_op\":%.4f,\"ints_op\":%.4f,\"other_cpu_pct\":%.1f}\n",
		(unsigned long long)s->errors, (unsigned long long)s->mismatches,
		(unsigned long long)s->verified, (unsigned long long)s->badlen, cpu, self, kicks,
		(double)s->calls / n, other);
}

static void print_line(
	const struct sums *s, double sec, double n, const char *cpu, double self, double kicks, double other)
{
	printf("%s bs=%u qd=%u q=%u seg=%u: %.0f IOPS %.1f MiB/s | lat us p50 %.1f p99 %.1f p99.9 %.1f | "
	       "backend cpu us/op [%s] self %.2f | ",
		opt.pattern, opt.bs, opt.qd, opt.nq, opt.nseg, n / sec, n * opt.bs / sec / 1048576,
		latency_us(&s->data, 0.5), latency_us(&s->data, 0.99), latency_us(&s->data, 0.999), cpu,
		self);
	printf("kicks/op %.3f ints/op %.3f | flushes %llu errors %llu mismatches %llu/%llu badlen %llu | "
	       "other cpu %.0f%%\n",
		kicks, (double)s->calls / n, (unsigned long long)s->flushes, (unsigned long long)s->errors,
		(unsigned long long)s->mismatches, (unsigned long long)s->verified,
		(unsigned long long)s->badlen, other);
}

static void report(const struct sums *s, const struct snap *a, const struct snap *b)
{
	double sec = (double)(b->t - a->t) / 1e9, n = (double)(s->ops[0] + s->ops[1]),
	       self = (double)(b->self - a->self) / 1e3, used = self;
	char cpu[256] = "";
	size_t len = 0;

	if (n == 0)
		n = 1;
	for (int i = 0; i < opt.backends; i++) {
		double us = (double)(b->pid[i] - a->pid[i]) / 1e3;

		used += us;
		len += (size_t)snprintf(cpu + len, sizeof(cpu) - len, "%s%.3f", i ? "," : "", us / n);
	}
	(opt.json ? print_json : print_line)(s, sec, n, cpu, self / n, (double)(b->kicks - a->kicks) / n,
		((b->busy - a->busy) - used / 1e6) / sec * 100);
}

int load_run(void)
{
	unsigned workers = opt.one_thread ? 1 : opt.nq;
	struct qctx *queues = calloc(opt.nq, sizeof(*queues));
	struct worker *w = calloc(workers, sizeof(*w));
	static struct sums sums;
	struct snap a, b;

	queues_start(w, workers, queues);
	phase = opt.ops || opt.prefill ? PHASE_MEASURED : PHASE_WARM_UP;
	for (unsigned i = 0; i < workers; i++)
		if (pthread_create(&w[i].thr, NULL, worker_run, &w[i]))
			die("pthread_create");
	watch(w, workers, &a, &b);
	for (unsigned i = 0; i < workers; i++)
		pthread_join(w[i].thr, NULL);
	add_up(&sums, w, workers, queues);
	report(&sums, &a, &b);
	vu_close(&device, true);
	queues_end(w, workers, queues);
	free(w);
	free(queues);
	return sums.errors || sums.mismatches || sums.badlen ? 1 : 0;
}
