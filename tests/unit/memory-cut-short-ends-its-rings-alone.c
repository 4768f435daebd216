/* A VMM that cuts the file of its guest's memory short below a running back-end loses its rings, with a line in the log;
 * the process, which may serve other machines, goes on, and so do rings in other memory.  If this fails, one VMM can take
 * away every disk of the host. */
#include <sys/wait.h>

#include "vmm.h"

static struct vmm vmm;

static void cut(unsigned q)
{
	assert_int_equal(ftruncate(vmm.driver[q].fd, 0), 0);
}

static void serve_other(void)
{
	uint16_t used = *driver_used_idx(&vmm.driver[1]);

	guest_ask(&vmm, 1, 0, VIRTIO_BLK_T_IN, 0);
	guest_kick(&vmm, 1);
	pump(&vmm);
	assert_int_equal(*driver_used_idx(&vmm.driver[1]), (uint16_t)(used + 1));
}

/* The memory of the first ring's guest is new again, as after its VMM has started anew. */
static void renew(void)
{
	assert_int_equal(ftruncate(vmm.driver[0].fd, 2 * DRIVER_REGION), 0);
	vmm_disconnect(&vmm);
	pump(&vmm);
	vmm_boot(&vmm);
	guest_ask(&vmm, 0, 0, VIRTIO_BLK_T_IN, 0);
	guest_kick(&vmm, 0);
	pump(&vmm);
	assert_true(*driver_used_idx(&vmm.driver[0]) > 0);
	assert_int_equal(*guest_status(&vmm, 0, 0), VIRTIO_BLK_S_OK);
}

static void a_ring_that_is_gone_stops_alone(void **state)
{
	(void)state;
	vmm_begin(&vmm);
	vmm_boot(&vmm);
	guest_ask(&vmm, 0, 0, VIRTIO_BLK_T_IN, 0);
	guest_kick(&vmm, 0);
	pump(&vmm);
	cut(0);
	guest_kick(&vmm, 0);
	pump(&vmm);
	assert_int_equal(signals(vmm.err[0]), 1);
	serve_other();
	assert_int_equal(signals(vmm.err[1]), 0);
	renew();
	vmm_end(&vmm);
}

/* The ring is there, but not the byte for the status: what the driver finds now is not its memory. */
static void a_ring_whose_buffers_are_gone_stops(void **state)
{
	(void)state;
	vmm_begin(&vmm);
	vmm_boot(&vmm);
	guest_ask(&vmm, 0, 0, VIRTIO_BLK_T_IN, 0);
	driver_describe(&vmm.driver[0].desc[2], DRIVER_REGION + 64, 1, DESC_WRITE, 0);
	assert_int_equal(ftruncate(vmm.driver[0].fd, DRIVER_REGION), 0);
	guest_kick(&vmm, 0);
	pump(&vmm);
	assert_int_equal(signals(vmm.err[0]), 1);
	serve_other();
	renew();
	vmm_end(&vmm);
}

/* Its end is to be told to a ring that is not there. */
static void a_request_whose_buffer_is_gone_ends(void **state)
{
	char zeroes[512];
	int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	ssize_t got;

	(void)state;
	vmm_begin(&vmm);
	vmm_boot(&vmm);
	vmm.disk.hold = true;
	guest_ask(&vmm, 0, 0, VIRTIO_BLK_T_IN, 0);
	guest_kick(&vmm, 0);
	pump(&vmm);
	assert_int_equal(vmm.disk.held_count, 1);
	cut(0);
	/* What receives into it from a connection cannot, */
	got = read(zero, vmm.disk.held[0]->iov[0].iov_base, sizeof(zeroes));
	assert_true(got < 0 && errno == EFAULT);
	/* until the VMM is gone, so that the next one can be served. */
	vmm_disconnect(&vmm);
	pump(&vmm);
	got = read(zero, vmm.disk.held[0]->iov[0].iov_base, sizeof(zeroes));
	assert_int_equal(got, sizeof(zeroes));
	disk_release(&vmm.disk);
	pump(&vmm);
	close(zero);
	assert_int_equal(ftruncate(vmm.driver[0].fd, 2 * DRIVER_REGION), 0);
	vmm_boot(&vmm);
	serve_other();
	vmm_end(&vmm);
}

static void a_log_that_is_gone_harms_nobody(void **state)
{
	struct vhost_user_log area = { 1 << 20, 0 };
	uint64_t answer;
	int log = memfd_create("log", MFD_CLOEXEC);

	(void)state;
	assert_int_equal(ftruncate(log, 1 << 20), 0);
	vmm_begin(&vmm);
	vmm_boot(&vmm);
	serve_other();
	vmm_send(&vmm, VHOST_USER_SET_LOG_BASE, &area, sizeof(area), &log, 1);
	assert_int_equal(vmm_receive(&vmm, VHOST_USER_SET_LOG_BASE, &answer, sizeof(answer)), sizeof(answer));
	assert_int_equal(vmm_set_u64(&vmm, VHOST_USER_SET_FEATURES, VMM_FEATURES | VHOST_F_LOG_ALL), 0);
	assert_int_equal(ftruncate(log, 0), 0);
	serve_other();
	close(log);
	vmm_end(&vmm);
}

/* Only what is foreign is expected to vanish. */
static void other_bus_errors_still_kill(void **state)
{
	pid_t child;
	int status;

	(void)state;
	vmm_begin(&vmm);
	vmm_boot(&vmm);
	child = fork();
	if (child == 0) {
		cut(0);
		*(volatile char *)vmm.driver[0].bytes = 1;
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_false(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	assert_int_equal(ftruncate(vmm.driver[0].fd, 2 * DRIVER_REGION), 0);
	vmm_end(&vmm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_ring_that_is_gone_stops_alone),
		cmocka_unit_test(a_ring_whose_buffers_are_gone_stops),
		cmocka_unit_test(a_request_whose_buffer_is_gone_ends),
		cmocka_unit_test(a_log_that_is_gone_harms_nobody),
		cmocka_unit_test(other_bus_errors_still_kill),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
