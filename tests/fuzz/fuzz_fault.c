/* Fault rules of any bytes: read, and then printed as what reads the same; or refused with a reason that fits. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "server/fault_rule.h"

#define ANY (FAULT_ON_REQUESTS | FAULT_ON_CLIENTS)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void print_again(struct fault_rule *rule)
{
	char printed[FAULT_RULE_SIZE], again[FAULT_RULE_SIZE], why[2048];
	struct fault_rule same;

	fault_rule_print(rule, printed);
	if (fault_rule_parse(printed, ANY, &same, why, sizeof(why)))
		abort();
	if (strcmp(fault_rule_print(&same, again), printed) != 0 || same.operations != rule->operations ||
		same.given != rule->given || same.from != rule->from || same.to != rule->to ||
		same.action != rule->action ||
		memcmp(same.conditions, rule->conditions, sizeof(same.conditions)) != 0 ||
		memcmp(same.arguments, rule->arguments, sizeof(same.arguments)) != 0)
		abort();
	fault_rule_fini(&same);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1), why[256];
	struct fault_rule rule;

	memcpy(text, data, size);
	text[size] = '\0';
	if (fault_rule_parse(text, ANY, &rule, why, sizeof(why)) == 0) {
		print_again(&rule);
		fault_rule_fini(&rule);
	} else if (!*why || strlen(why) >= sizeof(why)) {
		abort();
	}
	free(text);
	return 0;
}
