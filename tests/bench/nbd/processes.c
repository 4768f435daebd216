/* tests/bench/nbd/processes.c -- CPU time and memory of the server, of ourselves and of the machine. */

#include "load.h"

#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { PROCESSES_MAX = 4096, SERVER_PROCESSES_MAX = 256 };

static FILE *proc_open(pid_t pid, const char *file, const char *mode)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, file);
	return fopen(path, mode);
}

/* The fields of /proc/PID/stat after the command's name, which may hold anything; false: no such process. */
static bool proc_stat(pid_t pid, char *fields, size_t size)
{
	char line[512], *name_end = NULL;
	FILE *f = proc_open(pid, "stat", "r");

	if (!f)
		return false;
	if (fgets(line, sizeof line, f) && (name_end = strrchr(line, ')')))
		snprintf(fields, size, "%s", name_end + 1);
	fclose(f);
	return name_end;
}

static int processes_list(pid_t *pids, pid_t *parents)
{
	struct dirent *entry;
	char fields[512];
	DIR *dir = opendir("/proc");
	int n = 0;

	while (dir && n < PROCESSES_MAX && (entry = readdir(dir))) {
		if (!isdigit((unsigned char)entry->d_name[0]))
			continue;
		pids[n] = atoi(entry->d_name);
		if (proc_stat(pids[n], fields, sizeof fields) && sscanf(fields, " %*c %d", &parents[n]) == 1)
			n++;
	}
	if (dir)
		closedir(dir);
	return n;
}

/* @root and its descendants: a server may fork for each connection. */
static int process_tree(pid_t root, pid_t *out)
{
	static pid_t pids[PROCESSES_MAX], parents[PROCESSES_MAX];
	int n = processes_list(pids, parents), found = 0;

	out[found++] = root;
	for (int k = 0; k < found; k++)
		for (int i = 0; i < n; i++)
			if (parents[i] == out[k] && found < SERVER_PROCESSES_MAX)
				out[found++] = pids[i];
	return found;
}

static void snap_times(struct snap *s, pid_t pid)
{
	uint64_t tick_ns = 1000000000u / (uint64_t)sysconf(_SC_CLK_TCK);
	unsigned long user, system;
	char fields[512];
	long threads;

	if (!proc_stat(pid, fields, sizeof fields) ||
		sscanf(fields, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %*d %*d %*d %*d %ld",
			&user, &system, &threads) != 3)
		return;
	s->srv_usr += user * tick_ns;
	s->srv_sys += system * tick_ns;
	s->threads += (int)threads;
}

/* The peak of the memory in use; @restart forgets the one so far. */
static void snap_memory(struct snap *s, pid_t pid, bool restart)
{
	char line[512];
	long kb;
	FILE *f;

	if (restart && (f = proc_open(pid, "clear_refs", "w"))) {
		fputs("5", f);
		fclose(f);
	}
	if (!(f = proc_open(pid, "status", "r")))
		return;
	while (fgets(line, sizeof line, f))
		if (sscanf(line, "VmHWM: %ld", &kb) == 1)
			s->rss_kb += kb;
	fclose(f);
}

static void snap_server(struct snap *s, bool first)
{
	pid_t pids[SERVER_PROCESSES_MAX];
	int n = process_tree(opt.pid, pids);

	for (int i = 0; i < n; i++) {
		clockid_t id;

		if (clock_getcpuclockid(pids[i], &id)) {
			if (i == 0)
				die("--server-pid %d: no such process", (int)opt.pid);
			continue;
		}
		s->srv += clock_ns(id);
		s->procs++;
		snap_times(s, pids[i]);
		snap_memory(s, pids[i], first);
	}
}

void take_snap(struct snap *s, bool first)
{
	unsigned long long v[8] = { 0 };
	struct rusage ru;
	FILE *f;

	memset(s, 0, sizeof *s);
	if (first && opt.pid)
		snap_server(s, true); /* slow: before the clock starts */
	if ((f = fopen("/proc/stat", "r"))) {
		if (fscanf(f, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", v, v + 1, v + 2, v + 3, v + 4,
			    v + 5, v + 6, v + 7) == 8) {
			s->busy = v[0] + v[1] + v[2] + v[5] + v[6];
			s->steal = v[7];
		}
		fclose(f);
	}
	s->t = clock_ns(CLOCK_MONOTONIC);
	s->cli = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	getrusage(RUSAGE_SELF, &ru);
	s->cli_usr = (double)ru.ru_utime.tv_sec + (double)ru.ru_utime.tv_usec / 1e6;
	s->cli_sys = (double)ru.ru_stime.tv_sec + (double)ru.ru_stime.tv_usec / 1e6;
	if (!first && opt.pid)
		snap_server(s, false);
}
