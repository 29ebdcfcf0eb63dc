/* An ONNX runtime of three operators, as a program: tiny_runtime MODEL INPUTS OUTPUTS.

   It reads protobuf by hand: a key says a field's number and how it is written, then comes the value.
   Add, Neg and Relu of float32; everything else is "unsupported", which is exit code 3. With FAULT
   defined, Add has a fault: it aligns the axes of its operands at the first one, not at the last. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FLOAT = 1, UNSUPPORTED = 3, MOST = 16 };

typedef struct { const uint8_t *at, *end; } Bytes;
typedef struct { int number, wire; uint64_t value; Bytes bytes; } Field;
typedef struct { char name[256]; int rank; size_t dims[MOST], size; float *data; } Tensor;

static Tensor tensors[MOST];
static int count;

static void fail(int code, const char *text, const char *what) {
    fprintf(stderr, "%s%s\n", text, what);
    exit(code);
}

static uint64_t varint(Bytes *b) {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        if (b->at == b->end) fail(1, "the file ends too early", "");
        uint8_t byte = *b->at++;
        value |= (uint64_t)(byte & 127) << shift;
        if (byte < 128) break;
    }
    return value;
}

/* Reads the next field of a message; 0 at its end. */
static int next(Bytes *b, Field *f) {
    if (b->at == b->end) return 0;
    uint64_t key = varint(b), length = 0;
    f->number = (int)(key >> 3);
    f->wire = (int)(key & 7);
    f->value = 0;
    if (f->wire == 0) f->value = varint(b);
    else if (f->wire == 1) length = 8;
    else if (f->wire == 2) length = varint(b);
    else if (f->wire == 5) length = 4;
    else fail(1, "a field is written in an unknown way", "");
    if (length > (uint64_t)(b->end - b->at)) fail(1, "the file ends too early", "");
    f->bytes = (Bytes){b->at, b->at + length};
    b->at += length;
    return 1;
}

static void text(Bytes b, char *out) {
    size_t length = (size_t)(b.end - b.at);
    if (length > 255) fail(UNSUPPORTED, "a long name", "");
    memcpy(out, b.at, length);
    out[length] = 0;
}

static Bytes read_file(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file) return (Bytes){NULL, NULL};
    size_t size = 0, room = 1 << 16;
    uint8_t *data = malloc(room);
    for (size_t n; (n = fread(data + size, 1, room - size, file)) > 0;)
        if ((size += n) == room) data = realloc(data, room *= 2);
    fclose(file);
    return (Bytes){data, data + size};
}

static Tensor *find(const char *name) {
    for (int i = 0; i < count; i++)
        if (!strcmp(tensors[i].name, name)) return &tensors[i];
    fail(1, "there is no value ", name);
    return NULL;
}

static Tensor *make(const char *name) {
    if (count == MOST) fail(UNSUPPORTED, "many values", "");
    Tensor *t = &tensors[count++];
    strcpy(t->name, name);
    return t;
}

static void allocate(Tensor *t) {
    t->size = 1;
    for (int i = 0; i < t->rank; i++) t->size *= t->dims[i];
    t->data = malloc(t->size * sizeof(float) + 1);
}

/* TensorProto: dims = 1, data_type = 2, float_data = 4, name = 8, raw_data = 9. */
static void read_tensor(Bytes b) {
    Tensor *t = make("");
    Bytes raw = {NULL, NULL};
    uint64_t type = 0;
    for (Field f; next(&b, &f);) {
        if (f.number == 1 && f.wire == 0) {
            if (t->rank == MOST) fail(UNSUPPORTED, "a high rank", "");
            t->dims[t->rank++] = f.value;
        } else if (f.number == 1) {
            while (f.bytes.at < f.bytes.end) {
                if (t->rank == MOST) fail(UNSUPPORTED, "a high rank", "");
                t->dims[t->rank++] = varint(&f.bytes);
            }
        } else if (f.number == 2) type = f.value;
        else if (f.number == 4 || f.number == 9) raw = f.bytes;
        else if (f.number == 8) text(f.bytes, t->name);
    }
    if (type != FLOAT) fail(UNSUPPORTED, "a dtype other than float32", "");
    allocate(t);
    if ((size_t)(raw.end - raw.at) != t->size * sizeof(float)) fail(1, "a tensor's data", "");
    if (t->size) memcpy(t->data, raw.at, t->size * sizeof(float));
}

/* The element of an operand that broadcasts to a shape, for an element of the result. */
static size_t source(const Tensor *t, const Tensor *result, size_t index) {
    size_t position = 0, stride = 1;
    for (int i = result->rank - 1; i >= 0; i--) {
        size_t here = index % result->dims[i];
        index /= result->dims[i];
#ifdef FAULT
        int axis = i;
        if (axis >= t->rank) continue;
#else
        int axis = i - (result->rank - t->rank);
        if (axis < 0) break;
#endif
        if (t->dims[axis] > 1) position += here % t->dims[axis] * stride;
        stride *= t->dims[axis];
    }
    return position;
}

static void add(const Tensor *a, const Tensor *b, Tensor *y) {
    y->rank = a->rank > b->rank ? a->rank : b->rank;
    for (int i = 0; i < y->rank; i++) {
        int j = i - (y->rank - a->rank), k = i - (y->rank - b->rank);
        size_t m = j < 0 ? 1 : a->dims[j], n = k < 0 ? 1 : b->dims[k];
        if (m != n && m != 1 && n != 1) fail(1, "shapes do not broadcast", "");
        y->dims[i] = m == 1 ? n : m;
    }
    allocate(y);
    for (size_t i = 0; i < y->size; i++) y->data[i] = a->data[source(a, y, i)] + b->data[source(b, y, i)];
}

/* NodeProto: input = 1, output = 2, op_type = 4, attribute = 5, domain = 7. */
static void run_node(Bytes b, uint64_t opset) {
    char inputs[2][256] = {"", ""}, output[256] = "", type[256] = "";
    int given = 0;
    for (Field f; next(&b, &f);) {
        if (f.number == 1 && given < 2) text(f.bytes, inputs[given++]);
        else if (f.number == 2) text(f.bytes, output);
        else if (f.number == 4) text(f.bytes, type);
        else if (f.number == 5) fail(UNSUPPORTED, "an attribute", "");
        else if (f.number == 7 && f.bytes.at < f.bytes.end) fail(UNSUPPORTED, "another domain", "");
    }
    int adds = !strcmp(type, "Add"), negates = !strcmp(type, "Neg");
    if (!adds && !negates && strcmp(type, "Relu")) fail(UNSUPPORTED, "the operator ", type);
    if (adds && opset < 7) fail(UNSUPPORTED, "Add before opset 7", "");
    const Tensor *x = find(inputs[0]);
    Tensor *y = make(output);
    if (adds) {
        add(x, find(inputs[1]), y);
        return;
    }
    y->rank = x->rank;
    memcpy(y->dims, x->dims, sizeof x->dims);
    allocate(y);
    for (size_t i = 0; i < y->size; i++) {
        float v = x->data[i];
        y->data[i] = negates ? -v : v < 0 ? 0 : v; /* Relu of NaN is NaN */
    }
}

static void put_varint(FILE *file, uint64_t value) {
    for (; value > 127; value >>= 7) fputc((int)(value & 127) | 128, file);
    fputc((int)value, file);
}

static void write_tensor(const char *folder, int number, const Tensor *t) {
    char path[4096];
    snprintf(path, sizeof path, "%s/output_%d.pb", folder, number);
    FILE *file = fopen(path, "wb");
    if (!file) fail(1, "cannot write ", path);
    for (int i = 0; i < t->rank; i++) {
        fputc(1 << 3, file);
        put_varint(file, t->dims[i]);
    }
    fputc(2 << 3, file);
    fputc(FLOAT, file);
    fputc(9 << 3 | 2, file);
    put_varint(file, t->size * sizeof(float));
    fwrite(t->data, sizeof(float), t->size, file);
    fclose(file);
}

int main(int argc, char **argv) {
    if (argc != 4) fail(1, "usage: tiny_runtime MODEL INPUTS OUTPUTS", "");
    Bytes model = read_file(argv[1]), graph = {NULL, NULL};
    uint64_t opset = 0;
    /* ModelProto: graph = 7, opset_import = 8, and of that version = 2. */
    for (Field f; next(&model, &f);) {
        if (f.number == 7) graph = f.bytes;
        else if (f.number == 8)
            for (Field g; next(&f.bytes, &g);)
                if (g.number == 2) opset = g.value;
    }
    for (int i = 0;; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/input_%d.pb", argv[2], i);
        Bytes input = read_file(path);
        if (!input.at) break;
        read_tensor(input);
    }
    /* GraphProto: node = 1, initializer = 5, output = 12 with its name = 1. */
    Bytes stored = graph, nodes = graph;
    for (Field f; next(&stored, &f);)
        if (f.number == 5) read_tensor(f.bytes);
    for (Field f; next(&nodes, &f);)
        if (f.number == 1) run_node(f.bytes, opset);
    int number = 0;
    for (Field f; next(&graph, &f);)
        if (f.number == 12)
            for (Field g; next(&f.bytes, &g);)
                if (g.number == 1) {
                    char name[256];
                    text(g.bytes, name);
                    write_tensor(argv[3], number++, find(name));
                }
    return 0;
}
