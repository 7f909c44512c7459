// Attention for heads of 16 channels in single precision, forward and backward, and in bfloat16, forward:
//
//     o = softmax(q k' / sqrt(S')) v          (eq. 13, with q = T_a, k = T_b, v = T_c)
//
// It is compiled on first use by ssdiff/attention.py. The page nbs/4_ssdiff/02_attention shows this file
// section by section, says why it is as it is, and holds it against the formula. This file is a source:
// it is edited here, and no notebook writes it.

// == Sizes ==
#include <algorithm>
#include <cmath>
#include <immintrin.h>

enum {
    HEAD = 16,   // S', the channels of a head, and the queries side by side: blocks are square
    TILE = 128,  // keys at a time; their scores fit the first cache
};

static const float LOG2E = 1.44269504f;  // e^x = 2^(LOG2E x)
static const float SAFE = 100;           // scores of 2^-100 ... 2^100 can be added up as they are
static const float LEAST = -126;         // the smallest exponent of a normal float
static const float NONE = -1e30f;        // a maximum before the first score

// A register holds so many floats
#if defined(__AVX512F__)
enum { WIDTH = 16, LOG2_WIDTH = 4 };
#elif defined(__AVX2__) && defined(__FMA__)
enum { WIDTH = 8, LOG2_WIDTH = 3 };
#else
#error "no AVX: PyTorch's attention is faster"
#endif
enum { REGISTERS = HEAD / WIDTH };
typedef float Floats __attribute__((vector_size(4 * WIDTH), aligned(4)));
typedef int Ints __attribute__((vector_size(4 * WIDTH), aligned(4)));

// == Lanes ==
// 16 numbers side by side, one for each query (or each channel), in as many registers as it takes
struct Lanes {
    Floats part[REGISTERS];
    float &operator[](int i) { return ((float *)part)[i]; }
};

template <class F> static inline Lanes each(F f) {
    Lanes result;
    for (int r = 0; r < REGISTERS; r++) result.part[r] = f(r);
    return result;
}
static inline Lanes all(float x) {
    return each([&](int) { return Floats{} + x; });
}
static inline Lanes operator+(const Lanes &a, const Lanes &b) {
    return each([&](int r) { return a.part[r] + b.part[r]; });
}
static inline Lanes operator-(const Lanes &a, const Lanes &b) {
    return each([&](int r) { return a.part[r] - b.part[r]; });
}
static inline Lanes operator*(const Lanes &a, const Lanes &b) {
    return each([&](int r) { return a.part[r] * b.part[r]; });
}
static inline Lanes operator*(const Lanes &a, float b) {
    return each([&](int r) { return a.part[r] * b; });
}
static inline Lanes max(const Lanes &a, const Lanes &b) {  // b where either is NaN
    return each([&](int r) { return a.part[r] > b.part[r] ? a.part[r] : b.part[r]; });
}

// == Powers of two ==
// 2^x = 2^w 2^(i / WIDTH) 2^f, with w whole and f at most half a fraction.
// FRACTIONS has the bits of 2^(i / WIDTH), less the i that `power2` adds to them with w
static const Ints FRACTIONS = [] {
    Ints table;
    for (int i = 0; i < WIDTH; i++) {
        float x = std::exp2((float)i / WIDTH);
        table[i] = *(int *)&x - (i << (23 - LOG2_WIDTH));
    }
    return table;
}();

static inline Ints fraction(Ints i) {  // only the last LOG2_WIDTH bits of i count
#if defined(__AVX512F__)
    return (Ints)_mm512_permutexvar_epi32((__m512i)i, (__m512i)FRACTIONS);
#else
    return (Ints)_mm256_permutevar8x32_epi32((__m256i)FRACTIONS, (__m256i)i);
#endif
}

// For -126 <= x <= 126. Adding 1.5 * 2^23 / WIDTH rounds x to a multiple of 1 / WIDTH
// and leaves it in the low bits: first those of w, then those of i
static inline Floats power2(Floats x) {
    const float rounder = 12582912.f / WIDTH;
    Floats near = x + rounder, f = x - (near - rounder);
    Floats y = (Floats)(fraction((Ints)near) + ((Ints)near << (23 - LOG2_WIDTH)));    // 2^w 2^(i / WIDTH)
    Floats r = WIDTH == 16 ? f * .2402265f + .6931878f                                // (2^f - 1) / f
                           : (f * .0555041f + .2402265f) * f + .6931472f;
    return y * (r * f) + y;
}
static inline Lanes power2(const Lanes &x) {
    return each([&](int r) { return power2(x.part[r]); });
}

// == Products ==
// out[i] (+)= sum_j a[i][j] b[j] for ROWS rows at once, whose sums do not wait for each other
template <int ROWS>
static inline void few_rows(float *out, long out_row, const float *a, long a_row, const Lanes *b, bool add) {
    Lanes sum[ROWS];
    for (int i = 0; i < ROWS; i++) sum[i] = add ? *(const Lanes *)(out + i * out_row) : Lanes{};
    #pragma GCC unroll 16
    for (int j = 0; j < HEAD; j++)
        for (int i = 0; i < ROWS; i++) sum[i] = sum[i] + b[j] * a[i * a_row + j];
    for (int i = 0; i < ROWS; i++) *(Lanes *)(out + i * out_row) = sum[i];
}

// out (+)= a b for m rows of a; the square block b stays in registers
static inline void rows_times(float *out, long out_row, const float *a, long a_row, const Lanes *b, int m, bool add) {
    Lanes block[HEAD];
    for (int j = 0; j < HEAD; j++) block[j] = b[j];
    int i = 0;
    for (; i + 2 <= m; i += 2) few_rows<2>(out + i * out_row, out_row, a + i * a_row, a_row, block, add);
    for (; i < m; i++) few_rows<1>(out + i * out_row, out_row, a + i * a_row, a_row, block, add);
}

// out[j] += sum_i a[i][j] p(i) over m rows of a; the square block of sums stays in registers
template <class P> static inline void outer(Lanes *out, P p, const float *a, long a_row, int m) {
    Lanes sum[HEAD] = {};
    for (int i = 0; i < m; i++) {
        Lanes x = p(i);
        #pragma GCC unroll 16
        for (int j = 0; j < HEAD; j++) sum[j] = sum[j] + x * a[i * a_row + j];
    }
    for (int j = 0; j < HEAD; j++) out[j] = out[j] + sum[j];
}

// 16 tokens and their transpose, with zeros past the last
static inline void take(Lanes *rows, Lanes *columns, const float *x, long row, int tokens) {
    for (int i = 0; i < HEAD; i++) rows[i] = i < tokens ? *(const Lanes *)(x + i * row) : Lanes{};
    for (int i = 0; i < HEAD; i++)
        for (int j = 0; j < HEAD; j++) columns[j][i] = rows[i][j];
}

// Where a head begins: tensors are (batch, n, heads, HEAD), and `head` counts through batch and heads
static inline long start(long head, long heads, long n) {
    return head / heads * n * heads * HEAD + head % heads * HEAD;
}

// == Forward ==
// The largest score of 16 queries, at most: |s| <= sum_j |q_j| max_i |k_ij|
static inline float bound(Lanes *qt, const float *reach) {
    float most = 0;
    for (int i = 0; i < HEAD; i++) {
        float sum = 0;
        for (int j = 0; j < HEAD; j++) sum += std::fabs(qt[j][i]) * reach[j];
        most = sum <= most ? most : sum;
    }
    return most;
}

// m' = max(m, max s),  s -> s - m',  l -> 2^(m - m') l,  o -> 2^(m - m') o
static inline void follow_maximum(Lanes *s, int keys, Lanes &m, Lanes &l, Lanes *o) {
    Lanes old = m;
    for (int i = 0; i < keys; i++) m = max(s[i], m);
    for (int i = 0; i < keys; i++) s[i] = max(all(LEAST), s[i] - m);
    Lanes fade = power2(max(all(LEAST), old - m));
    l = l * fade;
    for (int j = 0; j < HEAD; j++) o[j] = o[j] * fade;
}

// 16 queries, or fewer, against all n keys of their head; tokens are `row` numbers apart
static inline void forward_block(const float *q, const float *k, const float *v, float *out, float *norm,
                                 const float *reach, long row, long n, int queries) {
    Lanes rows[HEAD], qt[HEAD], o[HEAD] = {}, m = {}, l = {}, s[TILE];
    take(rows, qt, q, row, queries);
    for (Lanes &x : qt) x = x * (LOG2E / std::sqrt((float)HEAD));
    bool far = !(bound(qt, reach) <= SAFE);  // also if it is NaN
    if (far) m = all(NONE);
    for (long t = 0; t < n; t += TILE) {
        int keys = std::min<long>(n - t, TILE);
        rows_times((float *)s, HEAD, k + t * row, row, qt, keys, false);  // s = K q
        if (far) follow_maximum(s, keys, m, l, o);
        Lanes sum = {};
        auto p = [&](int i) {
            Lanes x = power2(s[i]);
            sum = sum + x;
            return x;
        };
        outer(o, p, v + t * row, row, keys);  // o += V' p
        l = l + sum;
    }
    for (int i = 0; i < queries; i++) {
        for (int j = 0; j < HEAD; j++) out[i * row + j] = o[j][i] / l[i];
        norm[i] = m[i] + std::log2(l[i]);
    }
}

// norm is (batch, heads, n), reach is (batch, heads, HEAD): max_i |k_ij|
extern "C" void forward(const float *q, const float *k, const float *v, float *out, float *norm, const float *reach,
                        long batch, long heads, long n, int threads) {
    long row = heads * HEAD, blocks = (n + HEAD - 1) / HEAD;
    #pragma omp parallel for num_threads(threads) schedule(dynamic, 8)
    for (long job = 0; job < batch * heads * blocks; job++) {
        long head = job / blocks, first = job % blocks * HEAD, base = start(head, heads, n), here = base + first * row;
        forward_block(q + here, k + base, v + base, out + here, norm + head * n + first, reach + head * HEAD,
                      row, n, std::min<long>(n - first, HEAD));
    }
}

// == Backward ==
// What 16 queries, or fewer, give to their own gradient and add to those of all keys and values of their head
static inline void backward_block(const float *q, const float *k, const float *v, const float *out,
                                  const float *norm, const float *g, float *gq, float *gk, float *gv,
                                  long row, long n, int queries) {
    float scale = 1 / std::sqrt((float)HEAD);
    Lanes qr[HEAD], qt[HEAD], gr[HEAD], gt[HEAD], our[HEAD], ot[HEAD];
    Lanes gqt[HEAD] = {}, dot = {}, l = {}, p[TILE], ds[TILE];
    take(qr, qt, q, row, queries);
    take(gr, gt, g, row, queries);
    take(our, ot, out, row, queries);
    for (int j = 0; j < HEAD; j++) {
        dot = dot + gt[j] * ot[j];  // g . o
        qr[j] = qr[j] * scale;
        qt[j] = qt[j] * (LOG2E * scale);
    }
    for (int i = 0; i < queries; i++) l[i] = norm[i];
    for (long t = 0; t < n; t += TILE) {
        int keys = std::min<long>(n - t, TILE);
        rows_times((float *)p, HEAD, k + t * row, row, qt, keys, false);    // s = K q
        rows_times((float *)ds, HEAD, v + t * row, row, gt, keys, false);   // V g
        auto dS = [&](int i) {
            p[i] = power2(max(all(LEAST), p[i] - l));                       // P = 2^(s - L)
            return ds[i] = p[i] * (ds[i] - dot);                            // dS = P (V g - g . o)
        };
        outer(gqt, dS, k + t * row, row, keys);                             // dQ += dS K
        rows_times(gk + t * row, row, (float *)ds, HEAD, qr, keys, true);   // dK += dS' Q
        rows_times(gv + t * row, row, (float *)p, HEAD, gr, keys, true);    // dV += P' g
    }
    for (int i = 0; i < queries; i++)
        for (int j = 0; j < HEAD; j++) gq[i * row + j] = gqt[j][i] * scale;
}

// gk and gv come in as zeros. One thread walks through all queries of a head, so its sums have one order
extern "C" void backward(const float *q, const float *k, const float *v, const float *out, const float *norm,
                         const float *g, float *gq, float *gk, float *gv,
                         long batch, long heads, long n, int threads) {
    long row = heads * HEAD;
    #pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (long head = 0; head < batch * heads; head++)
        for (long first = 0; first < n; first += HEAD) {
            long base = start(head, heads, n), here = base + first * row;
            backward_block(q + here, k + base, v + base, out + here, norm + head * n + first, g + here,
                           gq + here, gk + base, gv + base, row, n, std::min<long>(n - first, HEAD));
        }
}

// == Bfloat16 ==
// Forward only, for q, k and v in numbers of 16 bits. Where a processor multiplies these at all, it multiplies
// and adds two pairs of them where it does one pair of floats. Scores, powers and all sums are floats as before
#if defined(__AVX512BF16__)
typedef unsigned short Half;
typedef int Pair;  // two halves side by side, the first in the low bits

static inline float number(Half x) {
    int bits = x << 16;
    return *(float *)&bits;
}
// (a0, b0), (a1, b1), ..., rounded
static inline Ints pairs(const Lanes &a, const Lanes &b) {
    Ints order;  // of halves: 0, 16, 1, 17, ...
    for (int i = 0; i < WIDTH; i++) order[i] = i | (i + WIDTH) << 16;
    __m512bh both = _mm512_cvtne2ps_pbh((__m512)b.part[0], (__m512)a.part[0]);
    return (Ints)_mm512_permutexvar_epi16((__m512i)order, (__m512i)both);
}
// sum += a b + a' b' in every lane, with one pair (b, b') for all of them
static inline void add_products(Lanes &sum, const Ints &a, Pair b) {
    sum.part[0] = (Floats)_mm512_dpbf16_ps((__m512)sum.part[0], (__m512bh)a, (__m512bh)(Ints{} + b));
}
// s = K q for ROWS keys at once, whose sums do not wait for each other
template <int ROWS> static inline void few_scores(Lanes *s, const Pair *k, long row, const Ints *q) {
    Lanes sum[ROWS] = {};
    #pragma GCC unroll 8
    for (int j = 0; j < HEAD / 2; j++)
        for (int i = 0; i < ROWS; i++) add_products(sum[i], q[j], k[i * row + j]);
    for (int i = 0; i < ROWS; i++) s[i] = sum[i];
}

// 16 queries, or fewer, against all n keys of their head. n is even, v2 as `look_ahead` makes it
static inline void bfloat16_block(const Half *q, const Half *k, const Pair *v2, Half *out, const float *reach,
                                  long row, long n, int queries) {
    Lanes qt[HEAD] = {}, o[HEAD] = {}, m = {}, l = {}, s[TILE];
    Ints q2[HEAD / 2];
    for (int i = 0; i < queries; i++)
        for (int j = 0; j < HEAD; j++) qt[j][i] = number(q[i * row + j]) * (LOG2E / std::sqrt((float)HEAD));
    for (int j = 0; j < HEAD; j += 2) q2[j / 2] = pairs(qt[j], qt[j + 1]);
    bool far = !(bound(qt, reach) <= SAFE);
    if (far) m = all(NONE);
    for (long t = 0; t < n; t += TILE, v2 += TILE / 2 * HEAD) {
        int keys = std::min<long>(n - t, TILE), i = 0;
        const Pair *k2 = (const Pair *)(k + t * row);
        for (; i + 4 <= keys; i += 4) few_scores<4>(s + i, k2 + i * row / 2, row / 2, q2);
        for (; i < keys; i += 2) few_scores<2>(s + i, k2 + i * row / 2, row / 2, q2);
        if (far) follow_maximum(s, keys, m, l, o);
        Lanes sum[HEAD], total = l;  // copies, which stay in registers
        for (int j = 0; j < HEAD; j++) sum[j] = o[j];
        for (i = 0; i < keys; i += 2) {
            Lanes a = power2(s[i]), b = power2(s[i + 1]);
            Ints p = pairs(a, b);
            total = total + (a + b);
            #pragma GCC unroll 16
            for (int j = 0; j < HEAD; j++) add_products(sum[j], p, v2[i / 2 * HEAD + j]);  // o += V' p
        }
        for (int j = 0; j < HEAD; j++) o[j] = sum[j];
        l = total;
    }
    Lanes share = each([&](int r) { return 1 / l.part[r]; });
    for (int j = 0; j < HEAD; j += 2) {
        Ints two = pairs(o[j] * share, o[j + 1] * share);
        for (int i = 0; i < queries; i++) *(Pair *)(out + i * row + j) = two[i];
    }
}

// What all queries of a head need: how far each channel of its keys reaches, and its values in pairs of two tokens
static void look_ahead(const Half *k, const Half *v, float *reach, Pair *v2, long row, long n) {
    for (int j = 0; j < HEAD; j++) reach[j] = 0;
    for (long i = 0; i < n; i += 2)
        for (int j = 0; j < HEAD; j++) {
            long here = i * row + j, next = here + row;
            reach[j] = std::max({reach[j], std::fabs(number(k[here])), std::fabs(number(k[next]))});
            v2[i / 2 * HEAD + j] = v[here] | v[next] << 16;
        }
}

// Everything is (batch, n, heads, HEAD); reach is (batch, heads, HEAD), and v2 has room for as much as v
extern "C" void forward_bfloat16(const Half *q, const Half *k, const Half *v, Half *out, float *reach, Pair *v2,
                                 long batch, long heads, long n, int threads) {
    long row = heads * HEAD, blocks = (n + HEAD - 1) / HEAD;
    #pragma omp parallel for num_threads(threads)
    for (long head = 0; head < batch * heads; head++) {
        long base = start(head, heads, n);
        look_ahead(k + base, v + base, reach + head * HEAD, v2 + head * n / 2 * HEAD, row, n);
    }
    #pragma omp parallel for num_threads(threads) schedule(dynamic, 8)
    for (long job = 0; job < batch * heads * blocks; job++) {
        long head = job / blocks, first = job % blocks * HEAD, base = start(head, heads, n), here = base + first * row;
        bfloat16_block(q + here, k + base, v2 + head * n / 2 * HEAD, out + here, reach + head * HEAD,
                       row, n, std::min<long>(n - first, HEAD));
    }
}
#endif
