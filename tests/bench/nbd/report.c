/* tests/bench/nbd/report.c -- a run as one line for people or one JSON object. */

#include "load.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void report(void)
{
	uint64_t ops = count.reads + count.writes, wall = at_end.t - at_start.t;
	double sec = (double)wall / 1e9, n = ops ? (double)ops : 1;
	double iops = (double)ops / sec, mib = iops * (double)opt.bs / 1048576;
	double cli = (double)(at_end.cli - at_start.cli) / 1e9,
	       srv = (double)(at_end.srv - at_start.srv) / 1e9;
	double tick = 1.0 / (double)sysconf(_SC_CLK_TCK);
	double other = ((double)(at_end.busy - at_start.busy) * tick - cli - srv) / sec;
	double steal = (double)(at_end.steal - at_start.steal) * tick / sec;
	double rx = count.nrecv ? n / (double)count.nrecv : 0, tx = count.nsend ? n / (double)count.nsend : 0;
	double susr = (double)(at_end.srv_usr - at_start.srv_usr),
	       ssys = (double)(at_end.srv_sys - at_start.srv_sys);
	double load = 0;

	if (getloadavg(&load, 1) < 1)
		load = -1;
	if (susr + ssys > 0) { /* split by ticks, total from the CPU clock */
		double k = srv / (susr + ssys);

		susr *= k;
		ssys *= k;
	}
	if (opt.json) {
		printf("{\"label\":\"%s\",\"addr\":\"%s\",\"op\":\"%s\",\"mix\":%u,\"bs\":%" PRIu64
		       ",\"qd\":%u,\"conns\":%u,\"structured\":%s,\"fua\":%s,\"flush_every\":%u"
		       ",\"batch\":%u,\"ws\":%" PRIu64 ",\"secs\":%.4f,\"ops\":%" PRIu64 ",\"reads\":%" PRIu64
		       ",\"writes\":%" PRIu64 ",\"flushes\":%" PRIu64,
			opt.label, opt.addr, op_names[opt.op], opt.mix, opt.bs, opt.qd, opt.conns,
			structured_on ? "true" : "false", opt.fua ? "true" : "false", opt.flush_every,
			opt.batch, nblocks * opt.bs, sec, ops, count.reads, count.writes, count.flushes);
		printf(",\"iops\":%.1f,\"mibs\":%.2f,\"lat_us\":{\"mean\":%.2f,\"p50\":%.2f"
		       ",\"p99\":%.2f,\"p999\":%.2f,\"max\":%.2f}",
			iops, mib,
			data_latency.samples
				? (double)data_latency.sum_ns / (double)data_latency.samples / 1e3
				: 0,
			latency_us(&data_latency, .5), latency_us(&data_latency, .99),
			latency_us(&data_latency, .999), (double)data_latency.max_ns / 1e3);
		printf(",\"flush_us\":{\"p50\":%.2f,\"p99\":%.2f,\"max\":%.2f}",
			latency_us(&flush_latency, .5), latency_us(&flush_latency, .99),
			(double)flush_latency.max_ns / 1e3);
		printf(",\"errors\":%" PRIu64 ",\"mismatches\":%" PRIu64 ",\"checked\":%" PRIu64
		       ",\"unchecked\":%" PRIu64,
			count.errors, count.mismatches, count.checked, count.unchecked);
		printf(",\"cli_cpu_s\":%.6f,\"cli_us_op\":%.4f,\"cli_usr_us_op\":%.4f,\"ops_per_recv\":%.3f"
		       ",\"ops_per_send\":%.3f",
			cli, cli * 1e6 / n, (at_end.cli_usr - at_start.cli_usr) * 1e6 / n, rx, tx);
		if (opt.pid)
			printf(",\"srv_cpu_s\":%.6f,\"srv_us_op\":%.4f,\"srv_usr_s\":%.4f"
			       ",\"srv_sys_s\":%.4f,\"srv_cores\":%.3f,\"srv_peak_rss_kb\":%ld"
			       ",\"srv_threads\":%d,\"srv_procs\":%d",
				srv, srv * 1e6 / n, susr, ssys, srv / sec, at_end.rss_kb, at_end.threads,
				at_end.procs);
		printf(",\"other_cores\":%.3f,\"steal_cores\":%.3f,\"load1\":%.2f}\n", other, steal, load);
		return;
	}
	printf("%s%s%s bs %" PRIu64 " qd %u x%u%s%s", opt.label, *opt.label ? " " : "", op_names[opt.op],
		opt.bs, opt.qd, opt.conns, structured_on ? " structured" : "", opt.fua ? " fua" : "");
	printf(": %.0f IOPS, %.1f MiB/s, lat us p50 %.1f p99 %.1f p99.9 %.1f max %.0f, errors %" PRIu64
	       ", mismatches %" PRIu64,
		iops, mib, latency_us(&data_latency, .5), latency_us(&data_latency, .99),
		latency_us(&data_latency, .999), (double)data_latency.max_ns / 1e3, count.errors,
		count.mismatches);
	if (opt.verify)
		printf(" (%" PRIu64 " checked, %" PRIu64 " never written)", count.checked, count.unchecked);
	if (count.flushes)
		printf(", %" PRIu64 " flushes p50 %.1f p99 %.1f", count.flushes,
			latency_us(&flush_latency, .5), latency_us(&flush_latency, .99));
	if (opt.pid)
		printf(", server %.3f s CPU (%.0f%% user) = %.2f us/op, %.2f cores, peak RSS %.1f MiB", srv,
			susr + ssys > 0 ? 100 * susr / (susr + ssys) : 0, srv * 1e6 / n, srv / sec,
			(double)at_end.rss_kb / 1024);
	printf(", client %.2f us/op %.2f cores, ops/recv %.1f ops/send %.1f, other %.2f cores, steal %.2f\n",
		cli * 1e6 / n, cli / sec, rx, tx, other, steal);
}
