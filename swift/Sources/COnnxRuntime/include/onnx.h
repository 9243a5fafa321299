// The few calls of ONNX Runtime's C interface that an engine needs, on a library that is opened by its path.
//
// The interface is a table of functions in an order that no version changes (OrtApi says so of itself); this one was
// counted in the header of version 1.21, and asks for the table as version 17 had it. So neither the header nor the
// library is needed to build.
#ifndef VOXPORT_ONNX_H
#define VOXPORT_ONNX_H

#include <stddef.h>
#include <stdint.h>

/// A model, opened. It belongs to one thread at a time.
typedef struct vx_onnx vx_onnx;

/// Opens a model with the library at a path; `threads` 0 leaves their number to it. NULL, and `vx_onnx_message` says
/// why, where that fails.
vx_onnx *vx_onnx_open(const char *library, const char *model, int threads);
void vx_onnx_close(vx_onnx *onnx);

/// What went wrong last in this thread. It is valid until the next call.
const char *vx_onnx_message(void);

/// The version of the library.
const char *vx_onnx_version(const vx_onnx *onnx);

/// Inputs and outputs in the model's order, with `is_output` 0 or 1.
size_t vx_onnx_count(const vx_onnx *onnx, int is_output);
const char *vx_onnx_name(const vx_onnx *onnx, int is_output, size_t index);
int vx_onnx_type(const vx_onnx *onnx, int is_output, size_t index);
/// The axes, -1 standing for any size. `sizes` has room for 8.
size_t vx_onnx_shape(const vx_onnx *onnx, int is_output, size_t index, int64_t *sizes);

/// A tensor of a call: `bytes` of what goes in, which is only read, and the `count` of elements of what comes out.
typedef struct {
    const void *data;
    size_t bytes;
    size_t count;
    /// ONNX's number of its type.
    int type;
    size_t rank;
    int64_t shape[8];
} vx_onnx_tensor;

/// Runs the model on inputs in its order. The outputs point into memory of `onnx`, valid until the next run. 0, or -1
/// and `vx_onnx_message` says why.
int vx_onnx_run(vx_onnx *onnx, const vx_onnx_tensor *inputs, vx_onnx_tensor *outputs);

#endif
