/* conf/vnbdctl.c -- vnbdctl: words to a request, its answer to a terminal or a program, and an exit status. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/cmdline.h"
#include "conf/control_caller.h"
#include "conf/control_line.h"
#include "conf/ctl_command.h"
#include "conf/log.h"

#define SOCKET_DEFAULT	"/run/vnbd/control.sock"
#define SOCKET_VARIABLE "VNBD_CONTROL"

enum { EXIT_REFUSED = 1, EXIT_UNREACHABLE = 3 };

struct settings {
	const char *socket; /* NULL: not given */
	bool json;
	const char *words[CTL_WORDS_MAX];
	unsigned count;
};

static int set_socket(void *settings, const char *value, char *why)
{
	(void)why;
	((struct settings *)settings)->socket = value;
	return 0;
}

static int set_json(void *settings, const char *value, char *why)
{
	(void)value;
	(void)why;
	((struct settings *)settings)->json = true;
	return 0;
}

static int take_word(void *settings, const char *word, char *why)
{
	struct settings *set = settings;

	if (set->count == CTL_WORDS_MAX) {
		snprintf(why, CMDLINE_WHY_SIZE, "too many words");
		return -1;
	}
	set->words[set->count++] = word;
	return 0;
}

static const struct cmdline_option options[] = {
	{ "socket", 's', "PATH",
		"The server's control socket. Default: $" SOCKET_VARIABLE " or " SOCKET_DEFAULT ".",
		set_socket, NULL },
	{ "json", 'j', NULL, "Show the result as one line of JSON, for programs. Default: for people.",
		set_json, NULL },
	{ 0 },
};

static char commands_text[4096];

static struct cmdline cmdline = {
	.program = "vnbdctl",
	.synopsis = "[OPTION]... COMMAND",
	.purpose = "Ask and steer a vnbd-server that runs with --control.",
	.options = options,
	.word = take_word,
	.takes_options = true,
	.epilogue = commands_text,
};

static void list_commands(void)
{
	size_t used = 0;

	used += (size_t)snprintf(commands_text, sizeof(commands_text), "Commands:\n");
	for (const struct ctl_command *row = ctl_commands; row->usage; row++)
		used += (size_t)snprintf(commands_text + used, sizeof(commands_text) - used,
			"  %s\n        %s\n", row->usage, row->help);
	snprintf(commands_text + used, sizeof(commands_text) - used,
		"\nExit status: 0, done; 1, the server has refused it; 2, usage; 3, no server was reached.\n"
		"The manual, vnbdctl(8), has examples.");
}

static const char *socket_of(const struct settings *settings)
{
	static const char prefix[] = "unix:";
	const char *variable = getenv(SOCKET_VARIABLE);
	const char *path = settings->socket	   ? settings->socket
			   : variable && *variable ? variable
						   : SOCKET_DEFAULT;

	return strncmp(path, prefix, sizeof(prefix) - 1) == 0 ? path + sizeof(prefix) - 1 : path;
}

static int show(const struct settings *settings, const struct ctl_command *command, json_t *result)
{
	if (settings->json) {
		json_dumpf(result, stdout, JSON_COMPACT | JSON_ENCODE_ANY | JSON_ENSURE_ASCII);
		putchar('\n');
	} else {
		ctl_show(stdout, &command->layout, result);
	}
	json_decref(result);
	if (fflush(stdout) == 0)
		return EXIT_SUCCESS;
	log_error("the answer cannot be written");
	return EXIT_REFUSED;
}

/* The server's words, perhaps. */
static void tell(const char *why)
{
	char *text = ctl_text(why);

	log_error("%s", text ? text : "out of memory");
	free(text);
}

static int ask(const struct settings *settings, const struct ctl_command *command, json_t *arguments)
{
	char why[CONTROL_WHY_SIZE];
	json_t *result;

	switch (control_ask(socket_of(settings), command->command, arguments, &result, why)) {
	case CONTROL_ANSWERED:
		return show(settings, command, result);
	case CONTROL_REFUSED:
		tell(why);
		return EXIT_REFUSED;
	case CONTROL_UNREACHABLE:
		break;
	}
	tell(why);
	return EXIT_UNREACHABLE;
}

int main(int argc, char **argv)
{
	struct settings settings = { 0 };
	const struct ctl_command *command;
	char why[CMDLINE_WHY_SIZE];
	json_t *arguments;
	int status;

	log_open(cmdline.program, LOG_INFO);
	list_commands();
	cmdline_parse(&cmdline, argc, argv, &settings);
	if (settings.count == 0)
		cmdline_fail(&cmdline, "the command is missing");
	command = ctl_command_find(settings.words, settings.count, &arguments, why);
	if (!command)
		cmdline_fail(&cmdline, "%s", why);
	status = ask(&settings, command, arguments);
	json_decref(arguments);
	return status;
}
