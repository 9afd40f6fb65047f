/* SPDX-License-Identifier: Apache-2.0 */
#include "ucx/ucp_double.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <stdlib.h>
#include <ucp/api/ucp.h>

struct ucp_double ucp_double;

const char *ucp_call_name(unsigned call)
{
    static const char *const names[] = {
#define X(name, function) #function,
        UCP_DOUBLE_MAP(X)
#undef X
    };
    return names[call];
}

static void *behind(const char *name)
{
    void *function = dlsym(RTLD_NEXT, name);
    if (!function) abort();
    return function;
}

static bool fails(enum ucp_call call)
{
    unsigned number = wi_add(&ucp_double.calls[call], 1, relaxed) + 1;
    return number == wi_load(&ucp_double.fail_at[call], relaxed);
}

static ucs_status_t counted(ucs_status_t status, _Atomic int *count)
{
    if (status == UCS_OK) (void)wi_add(count, 1, relaxed);
    return status;
}

/* A call that can fail, and what it makes; and the call that ends that. */
#define MAKES(call, count, function, parameters, ...)                                              \
    ucs_status_t function parameters                                                               \
    {                                                                                              \
        ucs_status_t(*real) parameters = (ucs_status_t(*) parameters)behind(#function);            \
        if (fails(UCP_##call)) return UCS_ERR_NO_RESOURCE;                                         \
        return counted(real(__VA_ARGS__), &ucp_double.count);                                      \
    }

#define FAILS(call, function, parameters, ...)                                                     \
    ucs_status_t function parameters                                                               \
    {                                                                                              \
        ucs_status_t(*real) parameters = (ucs_status_t(*) parameters)behind(#function);            \
        return fails(UCP_##call) ? UCS_ERR_NO_RESOURCE : real(__VA_ARGS__);                        \
    }

#define ENDS(count, function, parameters, ...)                                                     \
    void function parameters                                                                       \
    {                                                                                              \
        void(*real) parameters = (void (*) parameters)behind(#function);                           \
        (void)wi_sub(&ucp_double.count, 1, relaxed);                                               \
        real(__VA_ARGS__);                                                                         \
    }

FAILS(CONFIG_READ, ucp_config_read, (const char *prefix, const char *file, ucp_config_t **out), prefix, file, out)
MAKES(INIT, contexts, ucp_init_version,
      (unsigned major, unsigned minor, const ucp_params_t *params, const ucp_config_t *config, ucp_context_h *out), major, minor, params,
      config, out)
ENDS(contexts, ucp_cleanup, (ucp_context_h context), context)
ENDS(workers, ucp_worker_destroy, (ucp_worker_h worker), worker)
MAKES(WORKER_ADDRESS, addresses, ucp_worker_get_address, (ucp_worker_h worker, ucp_address_t **out, size_t *bytes), worker, out, bytes)
ENDS(addresses, ucp_worker_release_address, (ucp_worker_h worker, ucp_address_t *address), worker, address)
FAILS(WORKER_EFD, ucp_worker_get_efd, (ucp_worker_h worker, int *out), worker, out)
FAILS(EP_CREATE, ucp_ep_create, (ucp_worker_h worker, const ucp_ep_params_t *params, ucp_ep_h *out), worker, params, out)
FAILS(MEM_QUERY, ucp_mem_query, (const ucp_mem_h memory, ucp_mem_attr_t *out), memory, out)
MAKES(RKEY_PACK, keys, ucp_rkey_pack, (ucp_context_h context, ucp_mem_h memory, void **out, size_t *bytes), context, memory, out, bytes)
ENDS(keys, ucp_rkey_buffer_release, (void *key), key)
MAKES(RKEY_UNPACK, far_keys, ucp_ep_rkey_unpack, (ucp_ep_h ep, const void *key, ucp_rkey_h *out), ep, key, out)
ENDS(far_keys, ucp_rkey_destroy, (ucp_rkey_h key), key)

ucs_status_t ucp_mem_map(ucp_context_h context, const ucp_mem_map_params_t *params, ucp_mem_h *out)
{
    ucs_status_t (*real)(ucp_context_h, const ucp_mem_map_params_t *, ucp_mem_h *) =
        (ucs_status_t(*)(ucp_context_h, const ucp_mem_map_params_t *, ucp_mem_h *))behind("ucp_mem_map");
    void (*in_map)(void) = wi_load(&ucp_double.in_map, acquire);
    if (in_map) in_map();
    if (fails(UCP_MEM_MAP)) return UCS_ERR_NO_RESOURCE;
    return counted(real(context, params, out), &ucp_double.mappings);
}

ucs_status_t ucp_mem_unmap(ucp_context_h context, ucp_mem_h memory)
{
    ucs_status_t (*real)(ucp_context_h, ucp_mem_h) = (ucs_status_t(*)(ucp_context_h, ucp_mem_h))behind("ucp_mem_unmap");
    (void)wi_sub(&ucp_double.mappings, 1, relaxed);
    return real(context, memory);
}

ucs_status_t ucp_worker_create(ucp_context_h context, const ucp_worker_params_t *params, ucp_worker_h *out)
{
    ucs_status_t (*real)(ucp_context_h, const ucp_worker_params_t *, ucp_worker_h *) =
        (ucs_status_t(*)(ucp_context_h, const ucp_worker_params_t *, ucp_worker_h *))behind("ucp_worker_create");
    if (fails(UCP_WORKER_CREATE)) return UCS_ERR_NO_RESOURCE;
    ucs_status_t status = counted(real(context, params, out), &ucp_double.workers);
    if (status == UCS_OK) wi_store(&ucp_double.newest, *out, relaxed);
    return status;
}

static char unending; /* its address is the request */

ucs_status_ptr_t ucp_worker_flush_nbx(ucp_worker_h worker, const ucp_request_param_t *param)
{
    ucs_status_ptr_t (*real)(ucp_worker_h, const ucp_request_param_t *) =
        (ucs_status_ptr_t(*)(ucp_worker_h, const ucp_request_param_t *))behind("ucp_worker_flush_nbx");
    return wi_load(&ucp_double.restless, relaxed) == worker ? &unending : real(worker, param);
}

ucs_status_t ucp_request_check_status(void *request)
{
    ucs_status_t (*real)(void *) = (ucs_status_t(*)(void *))behind("ucp_request_check_status");
    return request == &unending ? UCS_INPROGRESS : real(request);
}
