/* However often a guest breaks its rings and resets its device, and however many messages of its VMM are refused, the log
 * gets a few lines a second and the number of the rest.  If this fails, one virtual machine fills the disk that holds the
 * host's log. */
#include "vmm.h"

enum { ROUNDS = 500, LINES_PER_S_MAX = 60 };

static struct vmm vmm;

static void break_and_reset(unsigned round)
{
	vmm.driver[0].avail[1] = *driver_used_idx(&vmm.driver[0]) = 0;
	vmm_describe_ring(&vmm, 0, 0);
	assert_int_equal(vmm_set_state(&vmm, VHOST_USER_SET_VRING_ENABLE, 0, 1), 0);
	driver_offer(&vmm.driver[0], VMM_RING);
	guest_kick(&vmm, 0);
	pump(&vmm);
	assert_int_equal(vmm_get(&vmm, VHOST_USER_GET_STATUS), VIRTIO_STATUS_NEEDS_RESET);
	assert_int_equal(vmm_set_u64(&vmm, VHOST_USER_SET_STATUS, 0), 0);
	assert_int_equal(vmm_set_u64(&vmm, VHOST_USER_SET_STATUS, 256 + round), 1);
	assert_int_equal(vmm_set_u64(&vmm, VHOST_USER_SET_FEATURES, VMM_FEATURES), 0);
}

static unsigned lines_of(int file)
{
	static char text[1 << 20];
	ssize_t length = pread(file, text, sizeof(text), 0);
	unsigned lines = 0;

	for (ssize_t i = 0; i < length; i++)
		lines += text[i] == '\n';
	return lines;
}

static void lines_are_bounded(void **state)
{
	int file = memfd_create("log", MFD_CLOEXEC), saved = dup(STDERR_FILENO);
	struct timespec begun, ended;
	unsigned lines;

	(void)state;
	clock_gettime(CLOCK_MONOTONIC, &begun);
	dup2(file, STDERR_FILENO);
	vmm_begin(&vmm);
	vmm.protocol = VHOST_USER_PROTOCOL_F_STATUS;
	vmm_boot(&vmm);
	for (unsigned round = 0; round < ROUNDS; round++)
		break_and_reset(round);
	vmm_end(&vmm);
	dup2(saved, STDERR_FILENO);
	close(saved);
	clock_gettime(CLOCK_MONOTONIC, &ended);
	lines = lines_of(file);
	close(file);
	assert_in_range(lines, 2, (unsigned)(ended.tv_sec - begun.tv_sec + 1) * LINES_PER_S_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
