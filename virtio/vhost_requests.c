/* virtio/vhost_requests.c -- the table of all requests, and those that are not about a ring, a function each. */
#include "virtio/vhost_requests.h"

#include <errno.h>
#include <unistd.h>

#include "virtio/vhost_ring_requests.h"
#include "virtio/vhost_session.h"

#define PROTOCOL_FEATURES_OFFERED                                                                       \
	(VHOST_USER_PROTOCOL_F_MQ | VHOST_USER_PROTOCOL_F_LOG_SHMFD | VHOST_USER_PROTOCOL_F_REPLY_ACK | \
		VHOST_USER_PROTOCOL_F_CONFIG | VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD |                   \
		VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS | VHOST_USER_PROTOCOL_F_BACKEND_REQ |         \
		VHOST_USER_PROTOCOL_F_RESET_DEVICE | VHOST_USER_PROTOCOL_F_STATUS |                     \
		VHOST_USER_PROTOCOL_F_GET_VRING_BASE_INFLIGHT)

/* -- features ----------------------------------------------------------------------------------------------------- */

/* In-order is slower than without: a VMM offers it to a guest only if its operator wants it. A single ring is reset by
 * what stops and describes it anew: GET_VRING_BASE, then all of SET_VRING_*. */
static uint64_t features_offered(const struct vhost_session *session)
{
	return session->blk->features | VIRTIO_F_IN_ORDER | VIRTIO_F_RING_RESET |
	       VHOST_USER_F_PROTOCOL_FEATURES | VHOST_F_LOG_ALL;
}

static int get_features(struct vhost_session *session, struct vhost_message *message, const char **why)
{
	(void)why;
	message->payload.u64 = features_offered(session);
	message->header.size = sizeof(uint64_t);
	return VHOST_DONE;
}

/* A VMM that begins or ends to migrate sets or clears LOG_ALL while the rings are at work. Spec, "Ring states": "without
 * VHOST_USER_F_PROTOCOL_FEATURES set, the back-end must enable all rings immediately". */
static int set_features(struct vhost_session *session, struct vhost_message *message, const char **why)
{
	const uint64_t at_work = VHOST_F_LOG_ALL | VHOST_USER_F_PROTOCOL_FEATURES;
	uint64_t features = message->payload.u64, changed = session->features ^ features;

	*why = "features that were not offered";
	if (features & ~features_offered(session))
		return -EINVAL;
	session->features = features;
	for (unsigned i = 0; i < session->ring_count; i++)
		session->rings[i].enabled |= !(features & VHOST_USER_F_PROTOCOL_FEATURES);
	if (changed & at_work && vhost_session_order_all(session, BLK_ORDER_FEATURES))
		return VHOST_WAIT;
	return VHOST_DONE;
}

static int get_protocol_features(
	struct vhost_session *session, struct vhost_message *message, const char **why)
{
	(void)session;
	(void)why;
	message->payload.u64 = PROTOCOL_FEATURES_OFFERED;
	message->header.size = sizeof(uint64_t);
	return VHOST_DONE;
}

static int set_protocol_features(
	struct vhost_session *session, struct vhost_message *message, const char **why)
{
	*why = "protocol features that were not offered";
	if (message->payload.u64 & ~PROTOCOL_FEATURES_OFFERED)
		return -EINVAL;
	session->protocol_features = message->payload.u64;
	return VHOST_DONE;
}

/* -- reset and status --------------------------------------------------------------------------------------------- */

/* Memory, log and the descriptors to call by are the VMM's and stay. So does writeback: VMMs remember what the last driver
 * made of it, and tell the next one that, not us. */
static int reset_device(struct vhost_session *session, struct vhost_message *message, const char **why)
{
	(void)message;
	(void)why;
	if (vhost_session_order_all(session, BLK_ORDER_STOP))
		return VHOST_AGAIN;
	for (unsigned i = 0; i < session->ring_count; i++)
		vhost_ring_forget(&session->rings[i]);
	inflight_free(session->inflight);
	session->inflight = NULL;
	session->features = 0;
	session->status = 0;
	session->needs_reset = false;
	return VHOST_DONE;
}

/* Spec: "Driver Requirements: Reserved Feature Bits". */
static bool features_go_together(uint64_t features)
{
	const uint64_t modern = VIRTIO_F_RING_PACKED | VIRTIO_F_IN_ORDER | VIRTIO_F_RING_RESET;

	return (features & VIRTIO_F_VERSION_1) || !(features & modern);
}

/* Spec: "Device Status Field"; a driver that finds FEATURES_OK missing has to give up. */
static int set_status(struct vhost_session *session, struct vhost_message *message, const char **why)
{
	uint64_t status = message->payload.u64;

	*why = "a device status has 8 bits";
	if (status > VIRTIO_STATUS_MAX)
		return -EINVAL;
	if (status == 0)
		return reset_device(session, message, why);
	if (!features_go_together(session->features))
		status &= ~(uint64_t)VIRTIO_STATUS_FEATURES_OK;
	session->status = (uint8_t)(status & ~(uint64_t)VIRTIO_STATUS_NEEDS_RESET);
	return VHOST_DONE;
}

static int get_status(struct vhost_session *session, struct vhost_message *message, const char **why)
{
	(void)why;
	message->payload.u64 = session->status | (session->needs_reset ? VIRTIO_STATUS_NEEDS_RESET : 0);
	message->header.size = sizeof(uint64_t);
	return VHOST_DONE;
}

/* SET_OWNER begins what a connection begins already; of RESET_OWNER the specification recommends to ignore it. */
static int do_nothing(struct vhost_session *session, struct vhost_message *message, const char **why)
{
	(void)session;
	(void)message;
	(void)why;
	return VHOST_DONE;
}

static int get_queue_num(struct vhost_session *session, struct vhost_message *message, const char **why)
{
	(void)why;
	message->payload.u64 = session->ring_count;
	message->header.size = sizeof(uint64_t);
	return VHOST_DONE;
}

/* -- memory ------------------------------------------------------------------------------------------------------- */

static struct guest_region region_from(const struct vhost_user_region *region)
{
	return (struct guest_region){
		.guest_address = region->guest_address,
		.size = region->size,
		.user_address = region->user_address,
		.mmap_offset = region->mmap_offset,
	};
}

static int use_memory(struct vhost_session *session, struct guest_memory *memory)
{
	guest_memory_put(session->memory);
	session->memory = memory;
	for (unsigned i = 0; i < session->ring_count; i++)
		vhost_ring_watch(&session->rings[i]);
	return vhost_session_order_all(session, BLK_ORDER_MEMORY) ? VHOST_WAIT : VHOST_DONE;
}

static int set_mem_table(struct vhost_session *session, struct vhost_message *message, const char **why)
{
	const struct vhost_user_mem_table *table = &message->payload.table;
	struct guest_region regions[VHOST_USER_MEM_TABLE_REGIONS];
	struct guest_memory *memory;
	uint32_t count = table->region_count;
	int error;

	*why = "a table of more than 8 regions, or shorter than its regions";
	if (count > VHOST_USER_MEM_TABLE_REGIONS ||
		message->header.size <
			offsetof(struct vhost_user_mem_table, regions) + count * sizeof(table->regions[0]))
		return -EINVAL;
	*why = "not one descriptor for each region";
	if (message->fd_count != count)
		return -EINVAL;
	for (unsigned i = 0; i < count; i++)
		regions[i] = region_from(&table->regions[i]);
	error = guest_memory_new(regions, message->fds, count, &memory, why);
	return error ? error : use_memory(session, memory);
}

static int get_max_mem_slots(struct vhost_session *session, struct vhost_message *message, const char **why)
{
	(void)session;
	(void)why;
	message->payload.u64 = GUEST_REGIONS_MAX;
	message->header.size = sizeof(uint64_t);
	return VHOST_DONE;
}

static int add_mem_reg(struct vhost_session *session, struct vhost_message *message, const char **why)
{
	struct guest_region region = region_from(&message->payload.region.region);
	struct guest_memory *memory;
	int error;

	*why = "no descriptor for the region";
	if (message->fd_count != 1)
		return -EINVAL;
	error = guest_memory_with(session->memory, &region, message->fds[0], &memory, why);
	return error ? error : use_memory(session, memory);
}

/* Spec: a descriptor may come along; it is closed unused, as all that nobody takes. */
static int rem_mem_reg(struct vhost_session *session, struct vhost_message *message, const char **why)
{
	struct guest_region region = region_from(&message->payload.region.region);
	struct guest_memory *memory;
	int error = guest_memory_without(session->memory, &region, &memory, why);

	return error ? error : use_memory(session, memory);
}

/* -- the log of what we write ------------------------------------------------------------------------------------- */

static int use_log(struct vhost_session *session, struct dirty_log *log)
{
	/* Queues that use the old one have references of their own. */
	dirty_log_put(session->log);
	session->log = log;
	return vhost_session_order_all(session, BLK_ORDER_FEATURES) ? VHOST_WAIT : VHOST_DONE;
}

/* It is for the VMM to make it large enough; where it did not, damage to the guest's memory would be noticed too late. */
static int set_log_base(struct vhost_session *session, struct vhost_message *message, const char **why)
{
	const struct vhost_user_log area = message->payload.log;
	struct dirty_log *log;
	int error;

	*why = "no descriptor for the log";
	if (message->fd_count != 1)
		return -EINVAL;
	error = dirty_log_new(area.size, area.mmap_offset, message->fds[0], &log, why);
	if (error)
		return error;
	*why = "the log does not reach to the end of the guest's memory";
	if (session->memory && guest_memory_end(session->memory) > dirty_log_reach(log)) {
		dirty_log_put(log);
		return -EINVAL;
	}
	vhost_message_close(message);
	message->payload.u64 = 0;
	message->header.size = sizeof(uint64_t);
	return use_log(session, log);
}

/* Spec: an optional message, with a descriptor that "may be used" to tell that the log has changed. VMMs look by
 * themselves, so it is closed, as all that nobody takes. */
static int set_log_fd(struct vhost_session *session, struct vhost_message *message, const char **why)
{
	(void)session;
	*why = "no descriptor";
	return message->fd_count == 1 ? VHOST_DONE : -EINVAL;
}

/* -- the record of requests in flight ------------------------------------------------------------------------------ */

static struct inflight_area area_from(const struct vhost_user_inflight *inflight)
{
	return (struct inflight_area){
		.size = inflight->mmap_size,
		.offset = inflight->mmap_offset,
		.num_queues = inflight->num_queues,
		.queue_size = inflight->queue_size,
	};
}

/* Not in use before the VMM has given it back, so that it surely has it. */
static int get_inflight_fd(struct vhost_session *session, struct vhost_message *message, const char **why)
{
	struct vhost_user_inflight *inflight = &message->payload.inflight;
	struct inflight_area area = area_from(inflight);
	int fd;

	*why = "more rings than there are";
	if (area.num_queues > session->ring_count)
		return -EINVAL;
	*why = "no rings, rings of no valid size, or no memory for them";
	fd = inflight_create(session->features, &area);
	if (fd < 0)
		return fd;
	inflight->mmap_size = area.size;
	inflight->mmap_offset = area.offset;
	message->fds[0] = fd;
	message->fd_count = 1;
	return VHOST_DONE;
}

static int set_inflight_fd(struct vhost_session *session, struct vhost_message *message, const char **why)
{
	const struct inflight_area area = area_from(&message->payload.inflight);
	struct inflight *inflight;
	int error;

	*why = "no descriptor for the record";
	if (message->fd_count != 1)
		return -EINVAL;
	*why = "a new record below a ring that is started";
	if (vhost_session_any_started(session))
		return -EBUSY;
	error = inflight_map(&area, message->fds[0], &inflight, why);
	if (error)
		return error;
	inflight_free(session->inflight);
	session->inflight = inflight;
	return VHOST_DONE;
}

/* -- configuration space, and the channel to tell of it ------------------------------------------------------------ */

static bool config_fits(const struct vhost_message *message)
{
	const struct vhost_user_config *config = &message->payload.config;

	return config->size <= VHOST_USER_CONFIG_SIZE_MAX &&
	       config->offset <= VHOST_USER_CONFIG_SIZE_MAX - config->size &&
	       message->header.size == VHOST_USER_CONFIG_HEADER_SIZE + config->size;
}

/* Spec: "zero length of payload to indicate an error". */
static int get_config(struct vhost_session *session, struct vhost_message *message, const char **why)
{
	struct vhost_user_config *config = &message->payload.config;

	(void)why;
	if (config_fits(message))
		virtio_blk_read_space(
			session->blk, session->features, config->offset, config->bytes, config->size);
	else
		message->header.size = 0;
	return VHOST_DONE;
}

static int set_config(struct vhost_session *session, struct vhost_message *message, const char **why)
{
	const struct vhost_user_config *config = &message->payload.config;

	*why = "a range beyond the configuration space, or not as long as it says";
	if (!config_fits(message))
		return -EINVAL;
	*why = "unknown flags";
	if (config->flags > VHOST_USER_CONFIG_MIGRATION)
		return -EINVAL;
	*why = "of this device drivers may write writeback, and write 0 or 1";
	return virtio_blk_write_space(session->blk, config->offset, config->bytes, config->size,
		config->flags == VHOST_USER_CONFIG_MIGRATION);
}

static int set_backend_req_fd(struct vhost_session *session, struct vhost_message *message, const char **why)
{
	*why = "no descriptor for the channel";
	if (message->fd_count != 1)
		return -EINVAL;
	if (session->channel >= 0)
		close(session->channel);
	session->channel = vhost_message_take_fd(message, 0);
	return VHOST_DONE;
}

/* -- the table ---------------------------------------------------------------------------------------------------- */

#define U64    sizeof(uint64_t)
#define STATE  sizeof(struct vhost_user_vring_state)
#define ADDR   sizeof(struct vhost_user_vring_addr)
#define TABLE  offsetof(struct vhost_user_mem_table, regions), sizeof(struct vhost_user_mem_table)
#define REGION sizeof(struct vhost_user_single_region)
#define LOG    sizeof(struct vhost_user_log)
#define CONFIG VHOST_USER_CONFIG_HEADER_SIZE, sizeof(struct vhost_user_config)
#define RECORD VHOST_USER_INFLIGHT_SIZE_MIN, sizeof(struct vhost_user_inflight)

static const struct vhost_request_kind kinds[VHOST_USER_REQUESTS] = {
	[VHOST_USER_GET_FEATURES] = { "GET_FEATURES", 0, 0, 0, true, get_features },
	[VHOST_USER_SET_FEATURES] = { "SET_FEATURES", U64, U64, 0, false, set_features },
	[VHOST_USER_SET_OWNER] = { "SET_OWNER", 0, 0, 0, false, do_nothing },
	[VHOST_USER_RESET_OWNER] = { "RESET_OWNER", 0, 0, 0, false, do_nothing },
	[VHOST_USER_SET_MEM_TABLE] = { "SET_MEM_TABLE", TABLE, VHOST_USER_MEM_TABLE_REGIONS, false,
		set_mem_table },
	[VHOST_USER_SET_LOG_BASE] = { "SET_LOG_BASE", LOG, LOG, 1, true, set_log_base },
	[VHOST_USER_SET_LOG_FD] = { "SET_LOG_FD", 0, U64, 1, false, set_log_fd },
	[VHOST_USER_SET_VRING_NUM] = { "SET_VRING_NUM", STATE, STATE, 0, false, vhost_set_vring_num },
	[VHOST_USER_SET_VRING_ADDR] = { "SET_VRING_ADDR", ADDR, ADDR, 0, false, vhost_set_vring_addr },
	[VHOST_USER_SET_VRING_BASE] = { "SET_VRING_BASE", STATE, STATE, 0, false, vhost_set_vring_base },
	[VHOST_USER_GET_VRING_BASE] = { "GET_VRING_BASE", STATE, STATE, 0, true, vhost_get_vring_base },
	[VHOST_USER_SET_VRING_KICK] = { "SET_VRING_KICK", U64, U64, 1, false, vhost_set_vring_kick },
	[VHOST_USER_SET_VRING_CALL] = { "SET_VRING_CALL", U64, U64, 1, false, vhost_set_vring_call },
	[VHOST_USER_SET_VRING_ERR] = { "SET_VRING_ERR", U64, U64, 1, false, vhost_set_vring_err },
	[VHOST_USER_GET_PROTOCOL_FEATURES] = { "GET_PROTOCOL_FEATURES", 0, 0, 0, true,
		get_protocol_features },
	[VHOST_USER_SET_PROTOCOL_FEATURES] = { "SET_PROTOCOL_FEATURES", U64, U64, 0, false,
		set_protocol_features },
	[VHOST_USER_GET_QUEUE_NUM] = { "GET_QUEUE_NUM", 0, 0, 0, true, get_queue_num },
	[VHOST_USER_SET_VRING_ENABLE] = { "SET_VRING_ENABLE", STATE, STATE, 0, false,
		vhost_set_vring_enable },
	[VHOST_USER_SET_BACKEND_REQ_FD] = { "SET_BACKEND_REQ_FD", 0, 0, 1, false, set_backend_req_fd },
	[VHOST_USER_GET_CONFIG] = { "GET_CONFIG", CONFIG, 0, true, get_config },
	[VHOST_USER_SET_CONFIG] = { "SET_CONFIG", CONFIG, 0, false, set_config },
	[VHOST_USER_GET_INFLIGHT_FD] = { "GET_INFLIGHT_FD", RECORD, 0, true, get_inflight_fd },
	[VHOST_USER_SET_INFLIGHT_FD] = { "SET_INFLIGHT_FD", RECORD, 1, false, set_inflight_fd },
	[VHOST_USER_RESET_DEVICE] = { "RESET_DEVICE", 0, 0, 0, false, reset_device },
	[VHOST_USER_SET_STATUS] = { "SET_STATUS", U64, U64, 0, false, set_status },
	[VHOST_USER_GET_STATUS] = { "GET_STATUS", 0, 0, 0, true, get_status },
	[VHOST_USER_GET_MAX_MEM_SLOTS] = { "GET_MAX_MEM_SLOTS", 0, 0, 0, true, get_max_mem_slots },
	[VHOST_USER_ADD_MEM_REG] = { "ADD_MEM_REG", REGION, REGION, 1, false, add_mem_reg },
	[VHOST_USER_REM_MEM_REG] = { "REM_MEM_REG", REGION, REGION, 1, false, rem_mem_reg },
};

const struct vhost_request_kind *vhost_request_kind(uint32_t request)
{
	return request < VHOST_USER_REQUESTS && kinds[request].name ? &kinds[request] : NULL;
}
