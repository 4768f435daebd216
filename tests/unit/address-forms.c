/* What an operator writes behind --listen is understood or refused with a reason.
 * If this fails, a server listens elsewhere than it was told, or not at all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include <linux/vm_sockets.h>
#include <sys/un.h>

#include "conf/address.h"

static const struct {
	const char *text;
	const char *uri; /* NULL: refused */
} forms[] = {
	{ "127.0.0.1:10809", "nbd://127.0.0.1:10809" },
	{ "127.0.0.1:0", "nbd://127.0.0.1:0" },
	{ "[::1]:10809", "nbd://[::1]:10809" },
	{ "unix:/run/vnbd.sock", "nbd+unix:///?socket=/run/vnbd.sock" },
	{ "vsock:3:10809", "nbd+vsock://3:10809" },
	{ "vsock:10809", "nbd+vsock://any:10809" },
	{ "vsock:4294967294:4294967294", "nbd+vsock://4294967294:4294967294" },
	{ "vsock:0:1", "nbd+vsock://0:1" },
	{ "vsock:", NULL },
	{ "vsock::1", NULL },
	{ "vsock:1:", NULL },
	{ "vsock:1:2:3", NULL },
	{ "vsock:-1:2", NULL },
	{ "vsock: 1:2", NULL },
	{ "vsock:any:2", NULL },
	{ "vsock:4294967295", NULL },
	{ "vsock:4294967295:1", NULL },
	{ "vsock:4294967296:1", NULL },
	{ "vsock:18446744073709551617:1", NULL },
	{ "unix:", NULL },
	{ "127.0.0.1", NULL },
	{ "127.0.0.1:", NULL },
	{ "127.0.0.1:65536", NULL },
	{ "127.0.0.1:123456", NULL },
	{ "127.0.0.1:nbd", NULL },
	{ "::1:10809", NULL },
	{ "./a:1", NULL },
	{ "", NULL },
	{ ":", NULL },
};

static void each_form(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(forms) / sizeof(*forms); i++) {
		struct address found[ADDRESS_RESOLVED_MAX];
		char why[256] = "", uri[256];
		int count = address_resolve(forms[i].text, found, why, sizeof(why));

		if (!forms[i].uri) {
			assert_int_equal(count, -1);
			assert_true(strlen(why) > 0);
			continue;
		}
		assert_true(count > 0);
		assert_true(address_looks(forms[i].text));
		assert_string_equal(address_uri(&found[0], uri, sizeof(uri)), forms[i].uri);
	}
}

static void a_path_too_long_for_a_socket_is_refused(void **state)
{
	struct address found[ADDRESS_RESOLVED_MAX];
	char text[300], why[256];

	(void)state;
	memset(text, 'x', sizeof(text));
	memcpy(text, "unix:", 5);
	text[sizeof(text) - 1] = '\0';
	assert_int_equal(address_resolve(text, found, why, sizeof(why)), -1);
}

static void a_vsock_port_of_0_is_any_free_one(void **state)
{
	struct address found[ADDRESS_RESOLVED_MAX];
	const struct sockaddr_vm *vm = (const struct sockaddr_vm *)&found[0].sockaddr;
	char why[256], text[ADDRESS_TEXT_SIZE];

	(void)state;
	assert_int_equal(address_resolve("vsock:2:0", found, why, sizeof(why)), 1);
	assert_int_equal(vm->svm_port, VMADDR_PORT_ANY);
	assert_int_equal(vm->svm_cid, 2);
	assert_int_equal(address_resolve("vsock:3:4", found, why, sizeof(why)), 1);
	assert_string_equal(address_text(&found[0], text), "vsock:3:4");
}

/* A peer may have any name there, and all the bytes that fit. */
static void an_abstract_name_is_shown_behind_an_at(void **state)
{
	struct address address = { .sockaddr.ss_family = AF_UNIX };
	struct sockaddr_un *un = (struct sockaddr_un *)&address.sockaddr;
	char text[ADDRESS_TEXT_SIZE], uri[256];

	(void)state;
	memcpy(un->sun_path, "\0name-and-what-is-behind-it", 27);
	address.length = (socklen_t)offsetof(struct sockaddr_un, sun_path) + 5;
	assert_string_equal(address_text(&address, text), "unix:@name");
	assert_string_equal(address_uri(&address, uri, sizeof(uri)), "unix:@name");
	memset(un->sun_path + 1, 'x', sizeof(un->sun_path) - 1);
	address.length = sizeof(*un);
	assert_int_equal(strlen(address_text(&address, text)), strlen("unix:@") + sizeof(un->sun_path) - 1);
	address.length = offsetof(struct sockaddr_un, sun_path);
	assert_string_equal(address_text(&address, text), "unix:");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_form),
		cmocka_unit_test(a_path_too_long_for_a_socket_is_refused),
		cmocka_unit_test(a_vsock_port_of_0_is_any_free_one),
		cmocka_unit_test(an_abstract_name_is_shown_behind_an_at),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
