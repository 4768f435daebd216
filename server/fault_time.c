/* server/fault_time.c -- a table of distributions and limits. */
#include "server/fault_time.h"

#include <math.h>

#include "server/limits.h"

#define NS_PER_S 1000000000.0

static double uniform(const uint64_t *arguments, struct fault_random random)
{
	double span = (double)(arguments[1] - arguments[0]);

	return (double)arguments[0] + span * fault_random_part(random, FAULT_DRAW_DELAY);
}

/* Mean and standard deviation, by the method of Box and Muller. */
static double normal(const uint64_t *arguments, struct fault_random random)
{
	double radius = sqrt(-2 * log(fault_random_part(random, FAULT_DRAW_DELAY)));
	double angle = 2 * M_PI * fault_random_part(random, FAULT_DRAW_DELAY + 1);

	return (double)arguments[0] + (double)arguments[1] * radius * cos(angle);
}

/* The least time, and how soon the tail gets thin. */
static double pareto(const uint64_t *arguments, struct fault_random random)
{
	double shape = (double)arguments[1] / FAULT_PART_ONE;

	return (double)arguments[0] * pow(fault_random_part(random, FAULT_DRAW_DELAY), -1 / shape);
}

static double fixed(const uint64_t *arguments, struct fault_random random)
{
	(void)random;
	return (double)arguments[0];
}

static double (*const distributions[FAULT_ACTIONS])(const uint64_t *arguments, struct fault_random random) = {
	[FAULT_DO_delay] = fixed,
	[FAULT_DO_delay_uniform] = uniform,
	[FAULT_DO_delay_normal] = normal,
	[FAULT_DO_delay_pareto] = pareto,
};

/* Within what can be waited. */
static uint64_t bounded(double ns)
{
	if (!(ns > 0))
		return 0;
	return ns < FAULT_TIME_MAX_S * NS_PER_S ? (uint64_t)ns : (uint64_t)(FAULT_TIME_MAX_S * NS_PER_S);
}

/* What it takes to let @event through. */
static double cost(const struct fault_rule *rule, const struct fault_event *event)
{
	double amount = rule->action == FAULT_DO_bandwidth ? (double)event->length : 1;

	return amount * NS_PER_S / (double)rule->arguments[0];
}

static uint64_t wait_for_bucket(
	const struct fault_rule *rule, struct fault_bucket *bucket, const struct fault_event *event)
{
	uint64_t start = bucket->free_ns > event->now_ns ? bucket->free_ns : event->now_ns;

	bucket->free_ns = start + bounded(cost(rule, event));
	return bounded((double)(start - event->now_ns));
}

uint64_t fault_time(const struct fault_rule *rule, struct fault_bucket *bucket,
	const struct fault_event *event, struct fault_random random)
{
	if (distributions[rule->action])
		return bounded(distributions[rule->action](rule->arguments, random));
	return wait_for_bucket(rule, bucket, event);
}
