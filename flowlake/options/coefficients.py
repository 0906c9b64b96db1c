"""Fitted constants of the Black-76 solver, shared by the NumPy path and the compiled kernel.

`MILLS` is the Chebyshev interpolant of degree 22 (computed with 50 digits, then expanded) of (z + 4.5) R(z) in
t = (z - 4.5) / (z + 4.5), R(z) = (1 - Phi(z)) / phi(z) being the Mills ratio: relative error below 1e-15 on [0, inf).
The substitution is that of Shepherd and Laframboise, "Chebyshev approximation of (1 + 2x) exp(x^2) erfc(x)",
Mathematics of Computation 36 (1981).

`BACHELIER` and `CORRECTION` are least-squares fits refined towards the minimax: the first inverts the Bachelier price
in the variables of Choi, Kim and Kwak, "Numerical approximation of the implied volatility under arithmetic Brownian
motion", Applied Mathematical Finance 16 (2009); the second, coefficients of u^i v^j with u the squared Bachelier
deviation and v the squared distance to the strike, carries it to the lognormal one: relative error below 1e-4 for
total deviations up to 2 and moneyness 1/7 to 7. `flowlake_tests/options/test_black.py` holds all three to these errors.
"""

MILLS_CENTRE = 4.5
CORRECTION_LIMITS = (4.53, 5.53)
"""Largest u and v of the fit; beyond them the guess is the fit at the limit, and iteration does the rest."""

MILLS = (
    1.9131352239782862,
    -1.6048882049011246,
    1.1190905025319435,
    -0.6345323932482362,
    0.2791947658647108,
    -0.08490282389074984,
    0.010587028719975576,
    0.004383668096343724,
    -0.00230044933741499,
    1.5995550487970314e-05,
    0.0002808494851457411,
    -3.993998337663381e-05,
    -3.5684561457770256e-05,
    8.001411352792771e-06,
    5.3726107212341735e-06,
    -1.2628240354556125e-06,
    -9.527230760844015e-07,
    1.6566498063743642e-07,
    1.7850308928290093e-07,
    -1.551099713926953e-08,
    -2.8845726959816265e-08,
    6.754791616482791e-10,
    2.733679242174034e-09,
)
BACHELIER = (
    0.3868355639872749,
    0.33584073771141065,
    -2.590517045844109,
    20.7388747149548,
    -82.95741117154489,
    212.57696904785948,
    -350.79961730833065,
    368.86706900607453,
    -238.80023709370352,
    86.80770016099679,
    -13.565501330018352,
)
CORRECTION = (
    (
        1.0000168400764748,
        -0.0416019962806728,
        0.004552674818942165,
        -0.0005983435092522658,
        6.745768674162807e-05,
        -3.954414626135224e-06,
    ),
    (0.04181995446708521, -0.005519224923791894, 0.0008749465838025146, -0.0001444271213506175, 1.2832950542374094e-05),
    (0.003384574209460599, -0.0007683333691534608, 0.00018913582972539353, -2.5569234751090425e-05),
    (0.0004810708637181466, -0.00017100369328705334, 3.389313758333709e-05),
    (4.007359043010851e-05, -2.4243294456559794e-05),
    (1.0505322289662902e-05,),
)
