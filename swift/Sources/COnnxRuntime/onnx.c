#include "onnx.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { API_VERSION = 17, LOG_ERRORS = 3, ARENA = 1, DEFAULT_MEMORY = 0, MOST_AXES = 8 };

// Where the functions stand in the table.
enum {
    GET_ERROR_MESSAGE = 2,
    CREATE_ENV = 3,
    CREATE_SESSION = 7,
    RUN = 9,
    CREATE_SESSION_OPTIONS = 10,
    SET_SESSION_LOG_SEVERITY = 22,
    SET_INTRA_OP_THREADS = 24,
    INPUT_COUNT = 30,
    OUTPUT_COUNT = 31,
    INPUT_TYPE_INFO = 33,
    OUTPUT_TYPE_INFO = 34,
    INPUT_NAME = 36,
    OUTPUT_NAME = 37,
    CREATE_TENSOR_WITH_DATA = 49,
    GET_TENSOR_DATA = 51,
    CAST_TO_TENSOR_INFO = 55,
    GET_ELEMENT_TYPE = 60,
    GET_DIMENSIONS_COUNT = 61,
    GET_DIMENSIONS = 62,
    GET_ELEMENT_COUNT = 64,
    GET_TENSOR_TYPE_AND_SHAPE = 65,
    CREATE_CPU_MEMORY_INFO = 69,
    ALLOCATOR_FREE = 76,
    GET_DEFAULT_ALLOCATOR = 78,
    RELEASE_STATUS = 93,
    RELEASE_MEMORY_INFO = 94,
    RELEASE_SESSION = 95,
    RELEASE_VALUE = 96,
    RELEASE_TYPE_INFO = 98,
    RELEASE_TENSOR_INFO = 99,
    RELEASE_SESSION_OPTIONS = 100,
};

typedef void *status;
typedef void (*function)(void);
typedef struct {
    const function *(*get_api)(uint32_t version);
    const char *(*get_version)(void);
} api_base;

// CALL(index, parameter types)(arguments): a function of the table that gives a status.
#define CALL(index, ...) ((status(*)(__VA_ARGS__))onnx->api[index])
#define RELEASE(index, object) ((void (*)(void *))onnx->api[index])(object)

typedef struct {
    char *name;
    int type;
    size_t rank;
    int64_t shape[MOST_AXES];
} port;

struct vx_onnx {
    const function *api;
    const char *version;
    void *session;
    void *memory;
    size_t counts[2];
    port *ports[2];
    const char **names[2];
    void **inputs;
    void **outputs;
};

static _Thread_local char message[1024];
static pthread_mutex_t environment_lock = PTHREAD_MUTEX_INITIALIZER;
// The library has one environment a process, and threads of it that outlive sessions: it is never released.
static void *environment;

const char *vx_onnx_message(void) { return message; }

static bool failed(const vx_onnx *onnx, status result) {
    if (!result) return false;
    const char *text = ((const char *(*)(const void *))onnx->api[GET_ERROR_MESSAGE])(result);
    snprintf(message, sizeof message, "%s", text);
    RELEASE(RELEASE_STATUS, result);
    return true;
}

static bool read_tensor_info(vx_onnx *onnx, const void *info, int *type, size_t *rank, int64_t *shape) {
    if (failed(onnx, CALL(GET_ELEMENT_TYPE, const void *, int *)(info, type))) return false;
    if (failed(onnx, CALL(GET_DIMENSIONS_COUNT, const void *, size_t *)(info, rank))) return false;
    if (*rank > MOST_AXES) {
        snprintf(message, sizeof message, "a tensor of the model has %zu axes", *rank);
        return false;
    }
    return !failed(onnx, CALL(GET_DIMENSIONS, const void *, int64_t *, size_t)(info, shape, *rank));
}

static bool read_port(vx_onnx *onnx, void *allocator, int is_output, size_t index, port *into) {
    char *name = NULL;
    if (failed(onnx, CALL(is_output ? OUTPUT_NAME : INPUT_NAME, const void *, size_t, void *, char **)(
                         onnx->session, index, allocator, &name)))
        return false;
    into->name = strdup(name);
    if (failed(onnx, CALL(ALLOCATOR_FREE, void *, void *)(allocator, name))) return false;
    void *info = NULL;
    const void *tensor = NULL;
    if (failed(onnx, CALL(is_output ? OUTPUT_TYPE_INFO : INPUT_TYPE_INFO, const void *, size_t, void **)(
                         onnx->session, index, &info)))
        return false;
    bool is_read = !failed(onnx, CALL(CAST_TO_TENSOR_INFO, const void *, const void **)(info, &tensor));
    if (is_read && !tensor) {
        snprintf(message, sizeof message, "%s is no tensor", into->name);
        is_read = false;
    }
    is_read = is_read && read_tensor_info(onnx, tensor, &into->type, &into->rank, into->shape);
    RELEASE(RELEASE_TYPE_INFO, info);
    return is_read;
}

static bool read_ports(vx_onnx *onnx) {
    void *allocator = NULL;
    if (failed(onnx, CALL(GET_DEFAULT_ALLOCATOR, void **)(&allocator))) return false;
    for (int side = 0; side < 2; side++) {
        size_t count = 0;
        if (failed(onnx, CALL(side ? OUTPUT_COUNT : INPUT_COUNT, const void *, size_t *)(onnx->session, &count)))
            return false;
        onnx->ports[side] = calloc(count + 1, sizeof(port));
        onnx->names[side] = calloc(count + 1, sizeof(char *));
        onnx->counts[side] = count;
        for (size_t index = 0; index < count; index++) {
            if (!read_port(onnx, allocator, side, index, &onnx->ports[side][index])) return false;
            onnx->names[side][index] = onnx->ports[side][index].name;
        }
    }
    onnx->inputs = calloc(onnx->counts[0] + 1, sizeof(void *));
    onnx->outputs = calloc(onnx->counts[1] + 1, sizeof(void *));
    return true;
}

static bool open_session(vx_onnx *onnx, const char *model, int threads) {
    pthread_mutex_lock(&environment_lock);
    bool has_environment =
        environment ||
        !failed(onnx, CALL(CREATE_ENV, int, const char *, void **)(LOG_ERRORS, "voxport", &environment));
    pthread_mutex_unlock(&environment_lock);
    if (!has_environment) return false;
    void *options = NULL;
    if (failed(onnx, CALL(CREATE_SESSION_OPTIONS, void **)(&options))) return false;
    bool is_open = !failed(onnx, CALL(SET_SESSION_LOG_SEVERITY, void *, int)(options, LOG_ERRORS));
    if (is_open && threads > 0) is_open = !failed(onnx, CALL(SET_INTRA_OP_THREADS, void *, int)(options, threads));
    is_open = is_open && !failed(onnx, CALL(CREATE_SESSION, const void *, const char *, const void *, void **)(
                                           environment, model, options, &onnx->session));
    RELEASE(RELEASE_SESSION_OPTIONS, options);
    return is_open && !failed(onnx, CALL(CREATE_CPU_MEMORY_INFO, int, int, void **)(ARENA, DEFAULT_MEMORY,
                                                                                    &onnx->memory));
}

vx_onnx *vx_onnx_open(const char *library, const char *model, int threads) {
    // It stays open: threads of the library run on.
    void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    const api_base *(*get_base)(void) = NULL;
    if (handle) get_base = (const api_base *(*)(void))dlsym(handle, "OrtGetApiBase");
    if (!get_base) {
        snprintf(message, sizeof message, "%s", dlerror());
        return NULL;
    }
    vx_onnx *onnx = calloc(1, sizeof *onnx);
    if (!onnx) return NULL;
    onnx->version = get_base()->get_version();
    onnx->api = get_base()->get_api(API_VERSION);
    if (!onnx->api) {
        snprintf(message, sizeof message, "ONNX Runtime %s is older than 1.%d", onnx->version, API_VERSION);
    } else if (open_session(onnx, model, threads) && read_ports(onnx)) {
        return onnx;
    }
    vx_onnx_close(onnx);
    return NULL;
}

static void release_outputs(vx_onnx *onnx) {
    for (size_t index = 0; onnx->outputs && index < onnx->counts[1]; index++) {
        if (onnx->outputs[index]) RELEASE(RELEASE_VALUE, onnx->outputs[index]);
        onnx->outputs[index] = NULL;
    }
}

void vx_onnx_close(vx_onnx *onnx) {
    if (!onnx) return;
    release_outputs(onnx);
    for (int side = 0; side < 2; side++) {
        for (size_t index = 0; onnx->ports[side] && index < onnx->counts[side]; index++)
            free(onnx->ports[side][index].name);
        free(onnx->ports[side]);
        free(onnx->names[side]);
    }
    free(onnx->inputs);
    free(onnx->outputs);
    if (onnx->memory) RELEASE(RELEASE_MEMORY_INFO, onnx->memory);
    if (onnx->session) RELEASE(RELEASE_SESSION, onnx->session);
    free(onnx);
}

const char *vx_onnx_version(const vx_onnx *onnx) { return onnx->version; }

size_t vx_onnx_count(const vx_onnx *onnx, int is_output) { return onnx->counts[!!is_output]; }

const char *vx_onnx_name(const vx_onnx *onnx, int is_output, size_t index) {
    return onnx->ports[!!is_output][index].name;
}

int vx_onnx_type(const vx_onnx *onnx, int is_output, size_t index) { return onnx->ports[!!is_output][index].type; }

size_t vx_onnx_shape(const vx_onnx *onnx, int is_output, size_t index, int64_t *sizes) {
    const port *from = &onnx->ports[!!is_output][index];
    memcpy(sizes, from->shape, from->rank * sizeof(int64_t));
    return from->rank;
}

static bool read_output(vx_onnx *onnx, void *value, vx_onnx_tensor *into) {
    void *info = NULL;
    if (failed(onnx, CALL(GET_TENSOR_TYPE_AND_SHAPE, const void *, void **)(value, &info))) return false;
    size_t count = 0;
    bool is_read = read_tensor_info(onnx, info, &into->type, &into->rank, into->shape) &&
                   !failed(onnx, CALL(GET_ELEMENT_COUNT, const void *, size_t *)(info, &count));
    RELEASE(RELEASE_TENSOR_INFO, info);
    void *data = NULL;
    is_read = is_read && !failed(onnx, CALL(GET_TENSOR_DATA, void *, void **)(value, &data));
    into->data = data;
    into->count = count;
    return is_read;
}

int vx_onnx_run(vx_onnx *onnx, const vx_onnx_tensor *inputs, vx_onnx_tensor *outputs) {
    release_outputs(onnx);
    int result = -1;
    size_t made = 0;
    for (; made < onnx->counts[0]; made++) {
        const vx_onnx_tensor *input = &inputs[made];
        if (failed(onnx, CALL(CREATE_TENSOR_WITH_DATA, const void *, void *, size_t, const int64_t *, size_t, int,
                              void **)(onnx->memory, (void *)input->data, input->bytes, input->shape, input->rank,
                                       input->type, &onnx->inputs[made])))
            goto done;
    }
    if (failed(onnx, CALL(RUN, void *, const void *, const char *const *, const void *const *, size_t,
                          const char *const *, size_t, void **)(
                         onnx->session, NULL, onnx->names[0], (const void *const *)onnx->inputs, onnx->counts[0],
                         onnx->names[1], onnx->counts[1], onnx->outputs)))
        goto done;
    for (size_t index = 0; index < onnx->counts[1]; index++)
        if (!read_output(onnx, onnx->outputs[index], &outputs[index])) goto done;
    result = 0;
done:
    while (made--) RELEASE(RELEASE_VALUE, onnx->inputs[made]);
    return result;
}
